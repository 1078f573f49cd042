//! A plan in words.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{EstimateReport, Report};
use crate::cli::print::columns;
use crate::cli::report::counted;
use crate::cli::why::roots_text;
use crate::config::quantity::Short;
use crate::graph::spec::NO_EVALS;

impl Report {
    pub(in crate::cli::plan) fn text(&self) -> String {
        let mut text = format!("plan of `{}` on profile `{}`", self.sweep, self.profile);
        if !self.simulated_pools.is_empty() {
            text.push_str(&format!(
                " (SIMULATED pools: {})",
                self.simulated_pools.join(", ")
            ));
        }
        text.push_str("\n\n");
        let mut rows = vec![
            [
                "config", "points", "stale", "fresh", "servers", "GPUs", "pool", "GPU time",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for config in &self.configs {
            let gpus = match config.gpus {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least}-{most}"),
            };
            rows.push(vec![
                config.config.clone(),
                config.points.to_string(),
                config.stale.to_string(),
                config.fresh.to_string(),
                config.servers.to_string(),
                gpus,
                config.pools.join(","),
                match (config.stale, config.estimate_ms) {
                    (0, _) => "-".to_owned(),
                    (_, Some(ms)) => short(ms),
                    (_, None) => "unknown".to_owned(),
                },
            ]);
        }
        if !self.configs.is_empty() {
            text.push_str(&columns(&rows));
        }
        let mut apart = String::new();
        for config in self.configs.iter().filter(|c| c.servers > 1) {
            apart.push_str(&format!(
                "{}: {} servers, kept apart by {}\n",
                config.config,
                config.servers,
                config.apart.join(", ")
            ));
        }
        if !apart.is_empty() {
            text.push_str(&format!("\n{apart}"));
        }
        text.push_str(&format!(
            "\n{}: {} stale, {} fresh; {} to start\n",
            counted(self.points, "point"),
            self.stale,
            self.fresh,
            counted(self.servers_to_start, "server"),
        ));
        if !self.roots.is_empty() {
            text.push_str("\nwhy\n");
            text.push_str(&roots_text(&self.roots));
            if self.cascades > 0 {
                let cascades = counted(self.cascades, "target");
                text.push_str(&format!("  and {cascades} that need these\n"));
            }
        }
        text.push_str(&self.estimate_text());
        if let Some(first) = self.evals.first() {
            let evals = counted(self.evals.len(), "eval");
            text.push_str(&format!("\ncannot run {evals} ({first} the first): {NO_EVALS}\n"));
        }
        if let Some(first) = self.unpinned.first() {
            text.push_str(&format!(
                "\n{} without a pin in `sweep.lock` ({first} the first): a build pins it first, `sweep lock` does so now\n",
                counted(self.unpinned.len(), "image")
            ));
        }
        for (problem, points) in &self.problems {
            text.push_str(&format!(
                "\ncannot plan {} ({} the first): {problem}\n",
                counted(points.len(), "point"),
                points[0]
            ));
        }
        for (reason, points) in &self.unrunnable {
            text.push_str(&format!(
                "\ncannot run {} ({} the first): {reason}\n",
                counted(points.len(), "point"),
                points[0]
            ));
        }
        let mut by_reason = BTreeMap::<&str, (usize, usize)>::new();
        for blocked in &self.blocked {
            let counts = by_reason.entry(&blocked.reason).or_default();
            *counts = (counts.0 + 1, counts.1 + blocked.points);
        }
        for (reason, (servers, points)) in by_reason {
            text.push_str(&format!(
                "\ncannot run {} with {}: {reason}\n",
                counted(servers, "server"),
                counted(points, "point")
            ));
        }
        text
    }

    fn estimate_text(&self) -> String {
        let EstimateReport {
            sessions,
            known,
            wall_ms,
            critical_path,
        } = &self.estimate;
        if *sessions == 0 {
            return String::new();
        }
        let Some(wall_ms) = wall_ms else {
            return match sessions - known {
                0 => "\ntime: unknown; not every server can run\n".to_owned(),
                new => format!(
                    "\ntime: unknown; {new} of {} without an earlier record\n",
                    counted(*sessions, "server")
                ),
            };
        };
        let mut text = format!(
            "\ntime: about {}, from earlier records; the critical path is\n",
            short(*wall_ms)
        );
        for session in critical_path {
            text.push_str(&format!(
                "  {} on {}, {}\n",
                session.server,
                session.pool,
                short(session.estimate_ms)
            ));
        }
        text
    }
}

fn short(ms: u64) -> String {
    Short(Duration::from_millis(ms)).to_string()
}
