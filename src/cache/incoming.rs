//! Packs that were made elsewhere, before anything of them is taken.

use std::path::Path;

use super::index::Records;
use super::log::{LogError, Origin, read_bytes};

/// Generations count runs; one beyond this was made up, and would leave no room for those to come.
const MOST_GENERATIONS: u64 = 1 << 48;

/// Why a pack is not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// What is wrong with it.
    Wrong(String),
    /// It cannot be read here, as when a later sweep wrote it.
    Log(LogError),
}

/// The records of a pack, each parsed whole. `what` is what the pack is called in messages.
pub(super) fn read_pack(what: &str, bytes: Vec<u8>) -> Result<Records, NotTaken> {
    let wrong = |reason: String| Err(NotTaken::Wrong(reason));
    let name = "records.log".to_owned();
    let (segment, damage) = read_bytes(name, bytes, Path::new(what).to_owned()).map_err(NotTaken::Log)?;
    if let Some(damage) = damage {
        return wrong(format!("its records cannot be read: {}", damage.reason));
    }
    if let Some(origin) = segment.origins().iter().find(|origin| !is_segment(origin)) {
        let name = origin.segment.escape_debug();
        return wrong(format!("it names `{name}` as a segment, which none is"));
    }
    let records = Records::new(vec![segment]);
    for record in records.iter() {
        if let Err(error) = record.decode() {
            let target = record.head().target.escape_debug();
            return wrong(format!("its record of `{target}` cannot be used: {error}"));
        }
    }
    refuse_forged(&records).map_err(NotTaken::Wrong)?;
    Ok(records)
}

/// Refuses records that would spoil the order of all others.
pub(super) fn refuse_forged(records: &Records) -> Result<(), String> {
    let generation = records.generation();
    if generation > MOST_GENERATIONS {
        return Err(format!(
            "it claims to be of generation {generation}, which no log is"
        ));
    }
    Ok(())
}

/// Whether it is the name of a file in a log, as every cache that this is merged into may have to spell it.
fn is_segment(origin: &Origin) -> bool {
    let name = &origin.segment;
    name.ends_with(".log") && name.len() <= 255 && !name.chars().any(|c| c == '/' || c.is_control())
}
