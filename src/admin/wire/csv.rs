//! Comma-separated values as RFC 4180 has them. A text that a spreadsheet would run as a formula gets
//! an apostrophe before it, which makes it a text there too.

/// One line of fields.
pub(in crate::admin) fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let is_number =
            field.strip_prefix('-').unwrap_or(field).bytes().all(|b| b.is_ascii_digit());
        let is_formula = !is_number && field.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let needs_quotes = is_formula || field.contains([',', '"', '\r', '\n']);
        if !needs_quotes {
            line.push_str(field);
            continue;
        }
        line.push('"');
        if is_formula {
            line.push('\'');
        }
        line.push_str(&field.replace('"', "\"\""));
        line.push('"');
    }
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_harmless() {
        let fields = ["plain", "a,b", "say \"hi\"", "two\nlines", "=cmd()", "-1", "-1+1", "", "é"];
        assert_eq!(
            line(fields),
            "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\"'=cmd()\",-1,\"'-1+1\",,é\r\n"
        );
    }
}
