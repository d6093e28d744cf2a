//! Messages of logs and errors read alike: lower case, no final period, so that they join well
//! (`read the routes: file is not there`).
//!
//! Looks at string literals where a message is written: the macros of tracing and anyhow, `#[error("…")]`,
//! `.context("…")` and `Fault::…(REASON, "…")`. A first word with capitals inside (`SQLite`, `TLS`) or from
//! a short list of names may stay as it is written.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

mod scan;

use scan::{Token, tokens};

const FOLDERS: [&str; 5] = ["cli", "libs", "services", "tests", "xtask"];
const MACROS: [&str; 8] = [
    "anyhow", "bail", "debug", "ensure", "error", "info", "trace", "warn",
];
const NAMES: [&str; 6] = [
    "Docker",
    "Kubernetes",
    "Linux",
    "Postgres",
    "Python",
    "Sandgate",
];

/// Reads every source file of ours.
///
/// # Errors
/// A file cannot be read, or holds a message that breaks the rule; all of them are named.
pub(crate) fn check(repository: &Path) -> anyhow::Result<()> {
    let mut found = Vec::new();
    let mut files = 0;
    for folder in FOLDERS {
        for file in sources(&repository.join(folder))? {
            let source = std::fs::read_to_string(&file)
                .with_context(|| format!("read {}", file.display()))?;
            let name = file.strip_prefix(repository).unwrap_or(&file).display();
            found.extend(
                problems(&source)
                    .into_iter()
                    .map(|(line, problem)| format!("{name}:{line}: {problem}")),
            );
            files += 1;
        }
    }
    println!("{files} files");
    if found.is_empty() {
        Ok(())
    } else {
        bail!("{}", found.join("\n"))
    }
}

fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn problems(source: &str) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for start in 0..tokens.len() {
        if let Some((line, text)) = message_at(&tokens, start)
            && let Some(rule) = broken_rule(text)
        {
            found.push((line, format!("{text:?} {rule}")));
        }
    }
    found
}

/// The message that the call starting at this token writes.
fn message_at(tokens: &[Token], start: usize) -> Option<(usize, &str)> {
    use Token::{Mark, Word};
    match tokens.get(start..)? {
        [Word(name), Mark('!'), Mark('('), ..] if MACROS.contains(&name.as_str()) => {
            argument(tokens, start + 2)
        }
        [
            Mark('#'),
            Mark('['),
            Word(name),
            Mark('('),
            Token::Text(line, text),
            ..,
        ] if name == "error" => Some((*line, text)),
        [
            Mark('.'),
            Word(name),
            Mark('('),
            Token::Text(line, text),
            ..,
        ] if name == "context" => Some((*line, text)),
        [Word(name), Mark(':'), Mark(':'), Word(_), Mark('('), ..] if name == "Fault" => {
            argument(tokens, start + 4)
        }
        _ => None,
    }
}

/// The first literal that is an argument by itself between the parenthesis at `open` and its partner.
fn argument(tokens: &[Token], open: usize) -> Option<(usize, &str)> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') => depth -= 1,
            Token::Text(line, text) if depth == 1 => {
                if matches!(
                    tokens.get(index.wrapping_sub(1)),
                    Some(Token::Mark('(' | ','))
                ) {
                    return Some((*line, text));
                }
            }
            Token::Text(..) | Token::Mark(_) | Token::Word(_) => {}
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

fn broken_rule(text: &str) -> Option<&'static str> {
    let word: String = text
        .chars()
        .take_while(|letter| letter.is_alphanumeric())
        .collect();
    let capitals = word.chars().filter(|letter| letter.is_uppercase()).count();
    let constant = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect::<String>();
    let starts_upper = word.starts_with(char::is_uppercase);
    if starts_upper && capitals < 2 && !NAMES.contains(&word.as_str()) && !constant.contains('_') {
        return Some("must start with a lower-case letter");
    }
    if text.ends_with('.') && !text.ends_with("..") {
        return Some("must not end with a period");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_start_upper_or_end_with_a_period_are_found_with_their_line() {
        let source = "fn f() {\n  info!(peer = \"A.\", \"Started\");\n  bail!(\"it broke.\");\n}\n#[error(\"Odd\")]\n";
        let lines: Vec<usize> = problems(source).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3, 5]);
    }

    #[test]
    fn names_fields_comments_and_other_literals_are_left_alone() {
        let source = r##"
            // info!("Commented.");
            fn f<'a>(x: &'a str) -> char {
                warn!(reason = "Upper.", %x, "postgres is away");
                x.context("SQLite said no")?;
                debug!("{}", format!("Whatever."));
                let _raw = r#"bail!("Upper.")"#;
                Fault::not_found(Reason::new("a", "B"), "no such key");
                '"'
            }
        "##;
        assert_eq!(problems(source), Vec::new());
    }
}
