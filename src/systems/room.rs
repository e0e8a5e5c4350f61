//! Whether a call fits in memory, found out before it starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Plan;
use crate::nn::Kind;
use crate::{Error, Result, kernels};

static CHECKING: AtomicBool = AtomicBool::new(true);

/// Switches the check of [`Plan::fit`]; on by default.
pub fn check_memory(check: bool) {
    CHECKING.store(check, Ordering::Relaxed);
}

impl Plan {
    /// Fails when what is needed beside `held` bytes that are there already is more than the
    /// system has left. `advice` says what the caller may change besides the batch.
    pub fn fit(&self, held: usize, advice: &str) -> Result<()> {
        if !CHECKING.load(Ordering::Relaxed) {
            return Ok(());
        }
        let needed = self.total.saturating_sub(held);
        if available().is_none_or(|available| needed <= available) {
            return Ok(());
        }
        kernels::give_back_freed_memory(); // what earlier calls left counts as available
        match available() {
            Some(available) if needed > available => Err(self.refused(needed, available, advice)),
            _ => Ok(()),
        }
    }

    fn refused(&self, needed: usize, available: usize, advice: &str) -> Error {
        let growing =
            [Kind::Activations, Kind::Workspace, Kind::Cache, Kind::Data].map(|kind| self.of(kind));
        let growing = growing.iter().sum::<usize>().max(1);
        let left = available.saturating_sub(needed.saturating_sub(growing));
        let fits = (self.batch as f64 * left as f64 / growing as f64) as usize;
        let less = match fits {
            0 => "no batch is small enough".to_owned(),
            fits => format!("about {fits} at a time fit"),
        };
        let shape: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        let call = format!("{} of {} × ({})", self.what, self.batch, shape.join(", "));
        let [needed, available] = [needed, available].map(gibibytes);
        let why =
            format!("{needed} beside the model, but {available} are available: {less}{advice}");
        Error::Memory { call, why }
    }
}

fn gibibytes(bytes: usize) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Bytes that this process may still take: what the system can free, within the limits of its
/// control groups. `None` where neither can be read.
pub fn available() -> Option<usize> {
    let system = number_after(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")? << 10;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_rooms(&groups, Path::new("/sys/fs/cgroup")).into_iter().min();
    Some(group.map_or(system, |group| group.min(system)))
}

/// The rooms that the memory groups leave, from `groups` (the text of `/proc/self/cgroup`)
/// upward; both layouts of control groups.
fn group_rooms(groups: &str, root: &Path) -> Vec<usize> {
    let mut rooms = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, names) = if controllers.is_empty() {
            (root.to_owned(), ["memory.max", "memory.current", "inactive_file"])
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
            (root.join("memory"), names)
        } else {
            continue;
        };
        let mut folder: PathBuf = base.join(path.trim_start_matches('/'));
        while folder.starts_with(&base) {
            rooms.extend(group_room(&folder, names));
            if !folder.pop() {
                break;
            }
        }
    }
    rooms
}

/// What one group leaves; its cached files can be given up and count as free.
fn group_room(folder: &Path, [limit, usage, cached]: [&str; 3]) -> Option<usize> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let limit: usize = read(limit)?.trim().parse().ok()?; // "max" is no limit
    let usage: usize = read(usage)?.trim().parse().ok()?;
    let cached = read("memory.stat").and_then(|stat| number_after(&stat, cached)).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(cached)))
}

/// The number that follows `name` at the start of a line.
fn number_after(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    line?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_group_counts_and_cached_files_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "a/b/memory.max", "max\n");
        write(root, "a/b/memory.current", "100\n");
        write(root, "a/memory.max", "1000\n");
        write(root, "a/memory.current", "700\n");
        write(root, "a/memory.stat", "anon 500\ninactive_file 200\n");
        assert_eq!(group_rooms("0::/a/b\n", root), [500]);
    }

    #[test]
    fn the_older_layout_is_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "memory/a/memory.limit_in_bytes", "900\n");
        write(root, "memory/a/memory.usage_in_bytes", "300\n");
        write(root, "memory/memory.limit_in_bytes", "800\n");
        write(root, "memory/memory.usage_in_bytes", "790\n");
        assert_eq!(group_rooms("5:cpu,cpuacct:/\n4:memory:/a\n", root), [600, 10]);
        assert!(group_rooms("nonsense\n", root).is_empty());
    }

    #[test]
    fn what_fits_is_let_through_and_what_does_not_says_what_to_change() {
        let plan = |total: usize| Plan {
            what: "encode".to_owned(),
            batch: 64,
            shape: vec![1, 448, 448],
            bytes: Kind::ALL
                .map(|kind| (kind.name(), if kind == Kind::Activations { total } else { 0 }))
                .to_vec(),
            total,
        };
        plan(1 << 20).fit(0, "").unwrap();
        let error = plan(1 << 52).fit(0, ", or recompute_blocks=True").unwrap_err().to_string();
        let start =
            "encode of 64 × (1, 448, 448) needs about 4194304.00 GiB beside the model, but ";
        assert!(error.starts_with(start), "{error}");
        let end = " GiB are available: no batch is small enough, or recompute_blocks=True; \
                   carina.check_memory(False) goes on regardless";
        assert!(error.ends_with(end), "{error}");
        plan(1 << 52).fit(1 << 52, "").unwrap();
    }
}
