//! Parser of a page: the commands that its reader types, and the output that it shows.

/// Step of a reader, in the order of the page.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The prose says to press Ctrl-C.
    Stop,
    Play(Block),
}

/// Block of commands that can be replayed.
#[derive(Debug, PartialEq)]
pub(super) struct Block {
    /// Line of its fence.
    pub(super) line: usize,
    pub(super) commands: Vec<String>,
    /// Lines of the `text` blocks that follow without prose between.
    pub(super) shown: Option<Vec<String>>,
}

/// Reads a page. Blocks with the info string `sh` are replayed, those with `sh by-hand` are not.
pub(super) fn steps(page: &str) -> Result<Vec<Step>, String> {
    let (mut steps, mut shows_output) = (Vec::new(), false);
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let Some(info) = line[indent..].strip_prefix("```") else {
            shows_output &= line.trim().is_empty();
            if line.contains("Ctrl-C") {
                steps.push(Step::Stop);
            }
            continue;
        };
        let body = lines.by_ref().map(|(_, line)| line.get(indent..).unwrap_or_default());
        let body: Vec<&str> = body.take_while(|line| *line != "```").collect();
        match (info, steps.last_mut()) {
            ("sh", _) => {
                steps.push(Step::Play(Block { line: at + 1, commands: commands(&body), shown: None }));
                shows_output = true;
            }
            ("text", Some(Step::Play(block))) if shows_output => {
                block.shown.get_or_insert_default().extend(body.iter().map(ToString::to_string));
            }
            (info, _) if info.starts_with("sh") && info != "sh by-hand" => {
                return Err(format!("line {}: {info:?} is neither `sh` nor `sh by-hand`", at + 1));
            }
            _ => shows_output = false,
        }
    }
    Ok(steps)
}

/// Returns the commands of a block: one line each, with its here-document and the lines that a `\` joins to it.
fn commands(body: &[&str]) -> Vec<String> {
    let mut lines = body.iter().filter(|line| !line.trim().is_empty());
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        let mut command = (*line).to_owned();
        let end = command.split_once("<<").map(|(_, end)| end.trim_matches(['\'', '"']).to_owned());
        while let Some(more) = (command.ends_with('\\') || end.is_some()).then(|| lines.next()).flatten() {
            command.push('\n');
            command.push_str(more);
            if end.as_deref() == Some(more) {
                break;
            }
        }
        commands.push(command);
    }
    commands
}

/// Returns a command without the comment after it.
pub(super) fn without_comment(command: &str) -> &str {
    command.split_once(" #").map_or(command, |(command, _)| command).trim_end()
}

/// Returns the exit code in the comment after a command, otherwise 0.
pub(super) fn announced_exit(command: &str) -> i32 {
    let comment = &command[without_comment(command).len()..];
    let code = comment.split_once("exit code ").map(|(_, code)| code.trim_end());
    code.map_or(0, |code| code.parse().expect("`exit code N` ends the comment"))
}

#[test]
fn blocks_have_their_commands_and_what_is_shown_behind_them() {
    let page = "```text\nno output\n```\nRun:\n\n```sh\na \\\n  b\ncat <<END\nx\nEND\n\nc\n```\n\n```text\n1\n```\n\n\
        ```text\n2\n```\nCtrl-C\n```sh by-hand\nd\n```\n```text\n3\n```\n- x:\n\n   ```sh\n   e # fails; exit code 4\n   ```\n";
    let block = |line, commands: &[&str], shown: Option<&[&str]>| {
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        Step::Play(Block { line, commands: owned(commands), shown: shown.map(owned) })
    };
    let first = block(6, &["a \\\n  b", "cat <<END\nx\nEND", "c"], Some(&["1", "2"]));
    let last = block(32, &["e # fails; exit code 4"], None);
    assert_eq!(steps(page), Ok(vec![first, Step::Stop, last]));
    assert_eq!(announced_exit("e # fails; exit code 4"), 4);
    assert_eq!(announced_exit("e; echo \"exit code $?\""), 0);
    assert!(steps("```sh later\n```\n").is_err());
}
