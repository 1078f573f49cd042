//! The GPUs that this host has, against what a pool says of its nodes.

use std::process::Command;

use super::Finding;
use crate::config::sweepfile::Pool;

/// A GPU as its vendor's tool tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    pub driver: String,
}

/// Asks `nvidia-smi`, and where there is none `rocm-smi`. None where the host has neither.
pub fn visible() -> Vec<Gpu> {
    let asked = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let nvidia = asked(
        "nvidia-smi",
        &["--query-gpu=name,driver_version", "--format=csv,noheader"],
    );
    let amd = || {
        asked(
            "rocm-smi",
            &["--showproductname", "--showdriverversion", "--json"],
        )
    };
    match nvidia {
        Some(text) => of_nvidia_smi(&text),
        None => amd().map(|text| of_rocm_smi(&text)).unwrap_or_default(),
    }
}

/// A line a GPU: `NVIDIA H200, 580.95.05`.
fn of_nvidia_smi(text: &str) -> Vec<Gpu> {
    let lines = text.lines().filter_map(|line| line.rsplit_once(','));
    lines
        .map(|(name, driver)| Gpu {
            name: name.trim().to_owned(),
            driver: driver.trim().to_owned(),
        })
        .collect()
}

/// An object of `card0`, `card1`, … and `system`, whose fields have had several spellings.
fn of_rocm_smi(text: &str) -> Vec<Gpu> {
    let told: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |of: &serde_json::Value, names: &[&str]| {
        let fields = of.as_object().into_iter().flatten();
        let mut found = fields.filter(|(name, _)| names.iter().any(|n| name.eq_ignore_ascii_case(n)));
        found
            .find_map(|(_, value)| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let driver = field(&told["system"], &["Driver version"]);
    let cards = told
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("card"));
    cards
        .map(|(_, card)| Gpu {
            name: field(card, &["Card series", "Card SKU", "Card model"]),
            driver: driver.clone(),
        })
        .collect()
}

/// Whether the host has what the pool declares of a node: as many, of the kind, with the driver of its facts. Where it is
/// looked at among other pools and the host has none of its kind, it may be the pool of another host.
pub fn of_pool(name: &str, pool: &Pool, visible: &[Gpu], among_others: bool) -> Finding {
    let mut finding = judged(name, pool, visible);
    if among_others && !visible.iter().any(|gpu| is_kind(gpu, pool)) {
        let alone = "look at one pool with `--pool NAME`, or have a profile a host";
        finding.mend = finding.mend.map(|mend| format!("{alone}; else {mend}"));
    }
    finding
}

fn is_kind(gpu: &Gpu, pool: &Pool) -> bool {
    gpu.name.to_lowercase().contains(&pool.gpu.to_lowercase())
}

fn judged(name: &str, pool: &Pool, visible: &[Gpu]) -> Finding {
    let check = format!("GPUs of pool `{name}`");
    let declared = format!("{} of kind `{}` a node", pool.gpus, pool.gpu);
    let Some(first) = visible.first() else {
        return Finding::wrong(
            check,
            format!("none is visible here; the pool declares {declared}"),
            "install the driver so that `nvidia-smi` or `rocm-smi` lists them, or run on another `--profile`",
        );
    };
    let found = format!("{} of `{}`, driver {}", visible.len(), first.name, first.driver);
    if visible.len() < pool.gpus as usize {
        return Finding::wrong(
            check,
            format!("{found}; the pool declares {declared}"),
            format!(
                "set `gpus: {}` in the pool, or look for the lost ones in `dmesg`",
                visible.len()
            ),
        );
    }
    if let Some(other) = visible.iter().find(|gpu| !is_kind(gpu, pool)) {
        return Finding::warn(
            check,
            format!("{found}; `{}` does not read like `{}`", other.name, pool.gpu),
            "set the pool's `gpu` to what the nodes have: it is in every key",
        );
    }
    match pool.facts.get("driver") {
        Some(driver) if *driver != first.driver => Finding::warn(
            check,
            format!("{found}; the pool's facts have {driver}"),
            format!(
                "set `facts: {{ driver: \"{}\" }}` in the pool: results would be kept under the other",
                first.driver
            ),
        ),
        _ => Finding::ok(check, found),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::Level;
    use super::*;

    fn pool(gpus: u32, facts: &str) -> Pool {
        let text = format!(
            r#"{{"executor":"docker","serves":["h200"],"gpus":{gpus},"gpu":"h200","facts":{facts}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn tools_are_read_and_pools_judged() {
        let nvidia = of_nvidia_smi("NVIDIA H200, 580.95.05\nNVIDIA H200, 580.95.05\n");
        assert_eq!(nvidia.len(), 2);
        assert_eq!(
            (nvidia[0].name.as_str(), nvidia[0].driver.as_str()),
            ("NVIDIA H200", "580.95.05")
        );
        let level = |gpus, facts, visible: &[Gpu]| of_pool("p", &pool(gpus, facts), visible, true).level;
        assert_eq!(level(2, "{}", &nvidia), Level::Ok);
        assert_eq!(level(2, r#"{"driver":"580.95.05"}"#, &nvidia), Level::Ok);
        assert_eq!(level(2, r#"{"driver":"1"}"#, &nvidia), Level::Warn);
        assert_eq!(level(8, "{}", &nvidia), Level::Wrong);
        assert_eq!(level(2, "{}", &[]), Level::Wrong);
        let other = of_nvidia_smi("NVIDIA A100-SXM4-80GB, 580.95.05\n");
        assert_eq!(level(1, "{}", &other), Level::Warn);
        let is_told = |visible: &[Gpu], among_others| {
            let finding = of_pool("p", &pool(2, "{}"), visible, among_others);
            finding.mend.is_some_and(|mend| mend.contains("--pool NAME"))
        };
        assert!(is_told(&other, true) && is_told(&[], true));
        assert!(!is_told(&other, false) && !is_told(&nvidia[..1], true));
        let amd = r#"{"card0":{"Card Series":"AMD Instinct MI355X","Card SKU":"M"},"system":{"Driver version":"6.14.14"}}"#;
        let amd = of_rocm_smi(amd);
        assert_eq!((amd.len(), amd[0].driver.as_str()), (1, "6.14.14"));
        assert!(of_rocm_smi("WARNING: no GPU").is_empty());
    }
}
