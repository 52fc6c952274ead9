//! Java's properties format, in which Kafka's server.properties is written.

use super::error::{ConfigError, ConfigErrorKind};

/// One entry and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved.
    pub value: String,
    /// The line that the entry begins on, from 1.
    pub line: usize,
}

/// Parses a whole file. `name` is what errors call it.
pub fn parse_properties(name: &str, text: &str) -> Result<Vec<Property>, ConfigError> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut entry = first.trim_start().to_owned();
        if entry.is_empty() || entry.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&entry) {
            entry.pop();
            let Some((_, next)) = lines.next() else { break };
            entry.push_str(next.trim_start());
        }
        let line = index + 1;
        let (key, value) = split(&entry);
        let unescaped = unescape(key).and_then(|key| Ok((key, unescape(value)?)));
        let (key, value) = unescaped.map_err(|problem| {
            ConfigError::new(ConfigErrorKind::File, problem).at(format_args!("{name}:{line}"))
        })?;
        if key.is_empty() {
            let error = ConfigError::new(ConfigErrorKind::File, "there is no key in front of the value");
            return Err(error.at(format_args!("{name}:{line}")));
        }
        properties.push(Property { key, value: value.trim_end().to_owned(), line });
    }
    Ok(properties)
}

/// An odd number of backslashes at the end: the last of them is not escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or white space that is not escaped.
fn split(entry: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, character) in entry.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return (&entry[..at], entry[at + 1..].trim_start()),
            _ if character.is_whitespace() => {
                let rest = entry[at..].trim_start();
                return (&entry[..at], rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start());
            }
            _ => {}
        }
    }
    (entry, "")
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => plain.push(unicode(&mut characters)?),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

fn unicode(characters: &mut std::str::Chars<'_>) -> Result<char, String> {
    let digits: String = characters.by_ref().take(4).collect();
    let all_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = all_hex.then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
    code.and_then(char::from_u32).ok_or_else(|| format!("'\\u{digits}' is not a character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_java_reads_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("# comment\n  ! other\n\n", &[]),
            ("a=b", &[("a", "b", 1)]),
            ("a = b \r\n\tc:d\n", &[("a", "b", 1), ("c", "d", 2)]),
            ("a b c", &[("a", "b c", 1)]),
            ("a", &[("a", "", 1)]),
            ("a==b", &[("a", "=b", 1)]),
            ("a=b,\\\n   c,\\\n   d\ne=f", &[("a", "b,c,d", 1), ("e", "f", 4)]),
            ("a=b\\\\\nc=d", &[("a", "b\\", 1), ("c", "d", 2)]),
            ("a=b\\", &[("a", "b", 1)]),
            ("a\\ b\\:c=d\\te\\u00e9\\q", &[("a b:c", "d\teéq", 1)]),
            ("l=PLAINTEXT://h:1", &[("l", "PLAINTEXT://h:1", 1)]),
            ("# a \\\nb=c", &[("b", "c", 2)]),
        ] {
            let parsed = parse_properties("f", text).unwrap();
            let parsed: Vec<_> = parsed.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
            assert_eq!(parsed, expected, "{text:?}");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, expected) in [
            ("a=b\n\nc=\\u12", "f:3: '\\u12' is not a character"),
            ("\\ud800=1", "f:1: '\\ud800' is not a character"),
            ("a=\\u+123", "f:1: '\\u+123' is not a character"),
            ("=b", "f:1: there is no key in front of the value"),
        ] {
            assert_eq!(parse_properties("f", text).unwrap_err().to_string(), expected, "{text:?}");
        }
    }
}
