//! The README's commands, as the binaries themselves understand them.

use crate::process::{binary, run};
use crate::python::root;
use anyhow::ensure;
use std::process::Command;

const OURS: [&str; 4] = ["wardline", "wardline-edge", "wardline-query", "firmware-sim"];

/// Returns binary and arguments of each line of the README's shell blocks that runs one of our binaries.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter_map(command).collect()
}

fn command(line: &str) -> Option<(String, Vec<String>)> {
    let words: Vec<String> = line.split(" # ").next()?.split_whitespace().map(str::to_owned).collect();
    let name = words.first()?.as_str();
    if name != "cargo" {
        return OURS.contains(&name).then(|| (name.to_owned(), words[1..].to_vec()));
    }
    let after = |flag: &str| words.iter().position(|w| w == flag).map(|at| at + 1);
    let package = words.get(after("-p").or_else(|| after("--bin"))?)?;
    let arguments = after("--").map(|at| words[at..].to_vec()).unwrap_or_default();
    Some((package.clone(), arguments))
}

#[test]
fn a_command_is_read_from_both_forms() {
    let text = "```sh\ncargo run --bin wardline -- demo --plain\nwardline init --host x  # why\nls\n```\nwardline no\n";
    let word = |w: &str| w.to_owned();
    let expected = vec![
        (word("wardline"), vec![word("demo"), word("--plain")]),
        (word("wardline"), vec![word("init"), word("--host"), word("x")]),
    ];
    assert_eq!(commands(text), expected);
}

#[test]
fn readme_commands_and_their_flags_exist() -> anyhow::Result<()> {
    let commands = commands(&std::fs::read_to_string(root()?.join("README.md"))?);
    ensure!(commands.len() > 5, "the README has only {} commands", commands.len());
    for (name, arguments) in commands {
        let bare = |word: &&String| {
            word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
        };
        let subcommands: Vec<&String> = arguments.iter().take_while(bare).collect();
        let help = run(Command::new(binary(&name)?).args(&subcommands).arg("--help"))?;
        for flag in arguments.iter().filter(|a| a.starts_with("--")) {
            let told = help.split([' ', ',', '\n', '=']).any(|word| word == flag);
            ensure!(told, "README: {name} {subcommands:?} has no {flag}");
        }
    }
    Ok(())
}
