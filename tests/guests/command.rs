//! A WASI command that executes one instruction from its standard input.

use std::io::Read;

fn main() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    match input.split_once(' ').unwrap_or((&input, "")) {
        ("say", what) => print!("{what}"),
        ("much", bytes) => print!("{}", "x".repeat(bytes.parse().unwrap())),
        ("see", _) => {
            println!("{:?}", std::env::args().collect::<Vec<_>>());
            let mut variables: Vec<_> = std::env::vars().collect();
            variables.sort();
            variables.iter().for_each(|(name, value)| println!("{name}={value}"));
            println!("files: {}", std::fs::read_dir("/").is_ok());
        }
        ("read", file) => print!("{:?}", std::fs::read_to_string(file).map_err(|error| error.kind())),
        ("write", file) => print!("{:?}", std::fs::write(file, "written").map_err(|error| error.kind())),
        ("connect", address) => print!("{:?}", std::net::TcpStream::connect(address).map(|_| ()).map_err(|error| error.kind())),
        ("listen", address) => print!("{}", std::net::TcpListener::bind(address).is_ok()),
        ("exit", code) => {
            eprintln!("out of paper");
            std::process::exit(code.parse().unwrap());
        }
        _ => panic!("unknown instruction {input:?}"),
    }
}
