//! The head of an HTTP request, as far as the admin listener needs it.

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestHead<'a> {
    /// GET of this path, without its query.
    Get(&'a str),
    /// HEAD of this path: like GET, but the answer's body is left out.
    Head(&'a str),
    /// Another method.
    OtherMethod,
    /// Not HTTP/1.
    Malformed,
}

/// Whether `bytes` contain a whole head: everything up to an empty line.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n") || bytes.windows(2).any(|window| window == b"\n\n")
}

/// Reads the request line. Header fields do not matter here.
pub(super) fn parse(bytes: &[u8]) -> RequestHead<'_> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return RequestHead::Malformed };
    let mut words = line.trim_end_matches('\r').split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return RequestHead::Malformed;
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return RequestHead::Malformed;
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match method {
        "GET" => RequestHead::Get(path),
        "HEAD" => RequestHead::Head(path),
        _ => RequestHead::OtherMethod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        for (bytes, expected) in [
            (&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], RequestHead::Get("/metrics")),
            (b"GET /metrics?a=b HTTP/1.0\n\n", RequestHead::Get("/metrics")),
            (b"HEAD / HTTP/1.1\r\n\r\n", RequestHead::Head("/")),
            (b"POST / HTTP/1.1\r\n\r\n", RequestHead::OtherMethod),
            (b"GET / HTTP/2\r\n\r\n", RequestHead::Malformed),
            (b"GET  / HTTP/1.1\r\n\r\n", RequestHead::Malformed),
            (b"GET metrics HTTP/1.1\r\n\r\n", RequestHead::Malformed),
            (b"GET /\r\n\r\n", RequestHead::Malformed),
            (b"\x16\x03\x01\x02\x00", RequestHead::Malformed),
            (b"GET /\xff HTTP/1.1\r\n\r\n", RequestHead::Malformed),
            (b"", RequestHead::Malformed),
        ] {
            assert_eq!(parse(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], false),
            (b"GET / HTTP/1.1\r\n\r\n", true),
            (b"GET / HTTP/1.1\n\nrest", true),
            (b"", false),
        ] {
            assert_eq!(is_complete(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
