//! The commands of a document: what it tells people to type, so that tests can type it.

/// All blocks of code in their order: language and text.
pub fn blocks(document: &str) -> Vec<(&str, &str)> {
    let pieces = document.split("\n```").skip(1).step_by(2);
    pieces.filter_map(|piece| piece.split_once('\n')).collect()
}

/// The commands of a shell block, with continued lines joined, without comments.
pub fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}
