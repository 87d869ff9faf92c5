//! A WASI command that executes one file operation from its standard input, and prints the result.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, Read, Result, Seek, SeekFrom, Write};
use std::time::SystemTime;

fn main() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    let words: Vec<&str> = input.split(' ').collect();
    match execute(&words) {
        Ok(text) => print!("{text}"),
        Err(error) => print!("{:?}", error.kind()),
    }
}

fn execute(words: &[&str]) -> Result<String> {
    let number = |word: &str| word.parse::<u64>().map_err(Error::other);
    Ok(match *words {
        ["read", path] => fs::read_to_string(path)?,
        ["write", path, text] => fs::write(path, text).map(|()| "ok".into())?,
        ["append", path, text] => {
            OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())?;
            "ok".into()
        }
        ["set-size", path, bytes] => {
            OpenOptions::new().write(true).create(true).open(path)?.set_len(number(bytes)?)?;
            "ok".into()
        }
        // Writes `bytes` bytes at an offset beyond the end; prints the length.
        ["far", path, offset, bytes] => {
            let mut file = File::create(path)?;
            file.seek(SeekFrom::Start(number(offset)?))?;
            file.write_all(&vec![b'x'; number(bytes)? as usize])?;
            file.metadata()?.len().to_string()
        }
        // Deletes a file that is open, and continues to write to it; prints the number of written bytes.
        ["unseen", path, bytes] => {
            let mut file = File::create(path)?;
            fs::remove_file(path)?;
            let mut written = 0;
            while written < number(bytes)? && file.write_all(&[b'x'; 4096]).is_ok() {
                written += 4096;
            }
            written.to_string()
        }
        // Creates up to `most` files, folders or links; prints how many succeeded, and the error of the next.
        ["many", folder, most] => count(number(most)?, |name| File::create_new(format!("{folder}/{name}")).map(drop)),
        ["folders", folder, most] => count(number(most)?, |name| fs::create_dir(format!("{folder}/d{name}"))),
        ["links", path, most] => count(number(most)?, |name| fs::hard_link(path, format!("{path}-{name}"))),
        // Opens a file up to `most` times at a time; prints how often that succeeded, and the error of the next.
        ["hold", path, most] => {
            let mut held = Vec::new();
            count(number(most)?, |_| File::open(path).map(|file| held.push(file)))
        }
        ["rename", from, to] => fs::rename(from, to).map(|()| "ok".into())?,
        ["link", from, to] => fs::hard_link(from, to).map(|()| "ok".into())?,
        ["remove", path] => fs::remove_file(path).map(|()| "ok".into())?,
        ["list", folder] => {
            let entries = fs::read_dir(folder)?;
            let kinds = entries.map(|entry| Ok((entry?.file_type()?.is_dir(), 1)));
            let all = kinds.collect::<Result<Vec<_>>>()?;
            format!("{} {}", all.len(), all.iter().filter(|(is_folder, _)| *is_folder).count())
        }
        ["touch", path] => {
            File::open(path)?.set_times(fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))?;
            format!("{:?}", fs::metadata(path)?.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap())
        }
        _ => panic!("unknown instruction {words:?}"),
    })
}

fn count(most: u64, mut each: impl FnMut(u64) -> Result<()>) -> String {
    for done in 0..most {
        if let Err(error) = each(done) {
            return format!("{done} {:?}", error.kind());
        }
    }
    format!("{most}")
}
