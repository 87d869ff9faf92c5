//! An outgoing request.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, FutureIncomingResponse, IncomingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// Gets `/hello` of a host; returns the status and the body, or the error.
pub(crate) fn fetch(host: &str) -> String {
    match send(host) {
        Ok(response) => receive(&response),
        Err(error) => error,
    }
}

/// Sends the request.
pub(crate) fn send(host: &str) -> Result<FutureIncomingResponse, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_path_with_query(Some("/hello")).unwrap();
    request.set_authority(Some(host)).map_err(|()| "not an authority".to_owned())?;
    handle(request, None).map_err(|error| format!("{error:?}"))
}

/// Waits for the response, and returns its status and body, or the error.
pub(crate) fn receive(response: &FutureIncomingResponse) -> String {
    response.subscribe().block();
    match response.get().unwrap().unwrap() {
        Ok(response) => {
            let content = read(response.consume().unwrap());
            format!("{} {}", response.status(), String::from_utf8_lossy(&content))
        }
        Err(error) => format!("{error:?}"),
    }
}

/// Reads a body to its end.
pub(crate) fn read(body: IncomingBody) -> Vec<u8> {
    let stream = body.stream().unwrap();
    let mut content = Vec::new();
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(bytes) => content.extend(bytes),
            Err(StreamError::Closed) => return content,
            Err(error) => panic!("{error:?}"),
        }
    }
}
