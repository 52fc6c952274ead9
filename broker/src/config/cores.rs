//! The core list of `--cores`: `0,2-5`.

/// Core numbers above this are a slip, and a range up to it stays cheap.
const CORE_MAX: usize = 4095;

/// The cores in ascending order without repeats; empty text is the empty list, which stands for all.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    if text.trim().is_empty() {
        return Ok(cores);
    }
    for part in text.split(',') {
        let part = part.trim();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (core(first, part)?, core(last, part)?);
        if first > last {
            return Err(format!("the range {part} runs backwards"));
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

fn core(text: &str, part: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(core) if core <= CORE_MAX => Ok(core),
        Ok(core) => Err(format!("core {core} is above {CORE_MAX}")),
        Err(_) => Err(format!("'{part}' is not a core or a range of cores such as 2-5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        for (text, expected) in [
            ("", Ok(vec![])),
            ("0", Ok(vec![0])),
            ("0,2-5", Ok(vec![0, 2, 3, 4, 5])),
            (" 3 , 1 - 2, 2 ", Ok(vec![1, 2, 3])),
            ("5-2", Err("the range 5-2 runs backwards")),
            ("a", Err("'a' is not a core or a range of cores such as 2-5")),
            ("1,,2", Err("'' is not a core or a range of cores such as 2-5")),
            ("-1", Err("'-1' is not a core or a range of cores such as 2-5")),
            ("0-99999999999", Err("core 99999999999 is above 4095")),
        ] {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
