//! The valid name nearest to a misspelt one.

/// The nearest of `valid` by Jaro-Winkler similarity, when it is near enough to be what was meant.
pub fn nearest<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_few(wrong, valid, 1).into_iter().next()
}

/// Up to `most` near names, the nearest first.
pub fn nearest_few<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    // Below this, suggestions in practice name something else altogether.
    const NEAR: f64 = 0.8;
    let wrong = wrong.to_lowercase();
    let mut scored: Vec<_> = valid
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= NEAR)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(most).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_noise_finds_none() {
        let names = ["conc-list", "conc-start", "dp-attn", "spec-decoding"];
        assert_eq!(nearest("conc_list", names), Some("conc-list"));
        assert_eq!(nearest("dpattn", names), Some("dp-attn"));
        assert_eq!(nearest("zzz", names), None);
    }
}
