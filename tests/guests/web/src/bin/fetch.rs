//! A command that sends a request to the host that its standard input names.

#[path = "../fetch.rs"]
mod fetch;

fn main() {
    print!("{}", fetch::fetch(&std::io::read_to_string(std::io::stdin()).unwrap()));
}
