//! What `/proc` says of a process: CPU time of its tree, memory; and of the machine.

use std::fs;

use crate::Result;

/// Memory of one process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) rss: f64,
    /// Shared pages counted in part.
    pub(crate) pss: f64,
}

/// User and system time of the process and its living descendants, in seconds.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    // A descendant may be gone since the tree was read.
    Ok(cpu_of(pid)?
        + tree(pid)
            .into_iter()
            .skip(1)
            .filter_map(|pid| cpu_of(pid).ok())
            .sum::<f64>())
}

/// User and system time of the process alone, in seconds.
pub(crate) fn cpu_of(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = stat_field(&stat, UTIME)? + stat_field(&stat, STIME)?;
    Ok(ticks as f64 / ticks_per_second()? as f64)
}

/// Memory of one process now.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        rss: kib(&rollup, "Rss:")?,
        pss: kib(&rollup, "Pss:")?,
    })
}

/// Starts a new peak of resident memory for [`peak_rss`].
pub(crate) fn reset_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// The most resident memory since [`reset_peak`], in KiB.
pub(crate) fn peak_rss(pid: u32) -> Result<f64> {
    kib(
        &fs::read_to_string(format!("/proc/{pid}/status"))?,
        "VmHWM:",
    )
}

/// One line on the machine, for the head of a report.
pub(crate) fn machine(dir: &std::path::Path) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    format!(
        "{} x {}, {:.0} GiB, Linux {}, load {}, store on {}, files {}",
        cpus.lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        model.unwrap_or("unknown CPU"),
        kib(&memory, "MemTotal:").unwrap_or_default() / f64::from(1 << 20),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        file_system(dir),
        file_limit(),
    )
}

/// Open files that this process and its children may have.
pub(crate) fn file_limit() -> u32 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

/// The type of the file system that holds `dir`.
fn file_system(dir: &std::path::Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holds = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    holds
        .max()
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// The process and its living descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        let stat = fs::read_to_string(entry.path().join("stat"));
        if let (Some(pid), Ok(stat)) = (pid, stat) {
            parents.push((pid, stat_field(&stat, PPID).unwrap_or(0)));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| *of == u64::from(parent));
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// Places in `/proc/PID/stat`, counted from the field after the command's name.
const PPID: usize = 1;
const UTIME: usize = 11;
const STIME: usize = 12;

fn stat_field(stat: &str, place: usize) -> Result<u64> {
    // The command's name may hold spaces and brackets; what follows the last one is numbers.
    let rest = stat.rsplit_once(") ").ok_or("no command in stat")?.1;
    Ok(rest.split(' ').nth(place).ok_or("stat is short")?.parse()?)
}

fn kib(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("a field is missing")?;
    Ok(value.parse()?)
}

/// The kernel's clock ticks per second, from the auxiliary vector.
fn ticks_per_second() -> Result<u64> {
    const AT_CLKTCK: u64 = 17;
    let vector = fs::read("/proc/self/auxv")?;
    let (words, _) = vector.as_chunks::<8>();
    let mut pairs = words.as_chunks::<2>().0.iter();
    let found = pairs.find(|[key, _]| u64::from_ne_bytes(*key) == AT_CLKTCK);
    found
        .map(|[_, value]| u64::from_ne_bytes(*value))
        .ok_or_else(|| "no clock tick".into())
}
