//! Which word did somebody mean?

/// Characters of a word that are compared: a longer one is no name of ours.
const CHARS_MAX: usize = 60;

/// The word of `words` nearest to what somebody wrote, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| -> String {
        word.chars()
            .filter(|character| !matches!(character, '_' | '-' | ' '))
            .flat_map(char::to_lowercase)
            .take(CHARS_MAX)
            .collect()
    };
    let written = plain(written);
    words
        .map(|word| {
            let candidate = plain(word);
            let distance = strsim::osa_distance(&written, &candidate);
            (distance, candidate.chars().count(), word)
        })
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_words() {
        let words = ["port", "serverCommand", "creditsPerCall"];
        for (written, expected) in [
            ("prot", Some("port")),
            ("Port", Some("port")),
            ("server_command", Some("serverCommand")),
            ("creditPerCalls", Some("creditsPerCall")),
            ("price", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, words.into_iter()), expected, "{written}");
        }
    }
}
