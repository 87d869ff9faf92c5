fn main(){ println!("{}", zmq::has("curve").unwrap_or(false)); println!("{:?}", zmq::version()); println!("{:?}", zmq::CurveKeyPair::new().is_ok()); }
