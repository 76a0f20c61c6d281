//! Reads Rust well enough to measure it: comments and literals are blanked, so braces and words are code.

use std::ops::Range;

/// Returns `source` with comments, strings and character literals blanked; lines keep their numbers.
pub(crate) fn code_of(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at).unwrap_or(at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Returns where the comment or literal that starts at `at` ends; `None` when none starts there.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let length = match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, 1),
        ['b' | 'c', '"', ..] if !after_word => quoted(rest, 2),
        ['r', ..] if !after_word => raw(rest, 1)?,
        ['b' | 'c', 'r', ..] if !after_word => raw(rest, 2)?,
        ['\'', '\\', ..] => character(rest)?,
        ['\'', _, '\'', ..] => 3,
        _ => return None,
    };
    Some((at + length).min(chars.len()))
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], open: usize) -> usize {
    let mut at = open;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw(rest: &[char], prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let body = prefix + hashes + 1;
    if rest.get(body - 1) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| rest[*at] == '"' && rest[at + 1..].iter().take(hashes).all(|c| *c == '#');
    Some((body..rest.len()).find(closes).map_or(rest.len(), |at| at + 1 + hashes))
}

fn character(rest: &[char]) -> Option<usize> {
    let close = rest.iter().skip(3).take(10).position(|c| *c == '\'')?;
    Some(close + 4)
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of the `fn`, from 1.
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Finds the functions of blanked code.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let starts = code
        .match_indices("fn ")
        .map(|(at, _)| at)
        .filter(|at| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    starts.filter_map(|at| function_at(code, at)).collect()
}

fn function_at(code: &str, at: usize) -> Option<Function> {
    let name: String =
        code[at + 3..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut depth = 0_i32;
    let open = code[at..].char_indices().find_map(|(offset, c)| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' | ';' if depth == 0 => return Some((at + offset, c)),
            _ => {}
        }
        None
    });
    let (open, '{') = open? else { return None };
    let body = block(code, open);
    let lines = code[at..body.end].matches('\n').count() + 1;
    (!name.is_empty()).then(|| Function { name, line: line_of(code, at), lines })
}

/// Returns the range of the block that opens at `open`.
fn block(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0_i32;
    for (offset, c) in code[open..].char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return open..open + offset + 1;
        }
    }
    open..code.len()
}

/// Returns the line of a byte, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Blanks the inline test modules of blanked code.
pub(crate) fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = match out[start..].find(['{', ';']) {
            Some(at) if out[start + at..].starts_with('{') => block(&out, start + at).end,
            Some(at) => start + at + 1,
            None => out.len(),
        };
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    out
}

mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_no_code() {
        let code = code_of("a(\"{\\\"\", r#\"}\"\"#, '{', '\\n', b\"{\"); // {\n/* { /* } */ */ fn<'a>");
        assert!(!code.contains(['{', '}', '"']), "{code}");
        assert!(code.contains("a(") && code.contains("fn<'a>"));
        assert_eq!(code.matches('\n').count(), 1);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let found = functions("trait T { fn no(&self); }\nfn f(a: [u8; 4])\n{\n  {}\n}\n");
        assert_eq!(found, [Function { name: "f".into(), line: 2, lines: 4 }]);
    }

    #[test]
    fn inline_tests_are_cut_and_lines_stay() {
        let code = without_tests("a\n#[cfg(test)]\nmod tests { fn x() {} }\nb\n#[cfg(test)]\nmod t;\nc");
        assert!(!code.contains("fn x") && !code.contains("mod t"));
        assert_eq!(line_of(&code, code.find('c').unwrap()), 7);
    }
}
