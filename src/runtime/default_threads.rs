//! The default number of threads of a batch on this machine.

use std::collections::BTreeSet;
use std::fs::read_to_string;

/// Physical cores, but no more than the affinity mask and the cgroup quota of this process allow:
/// a second thread on a core does not help a matrix product, and one beyond a quota stalls it.
///
/// The standard library knows the mask of the calling thread and the quota, of either version of
/// cgroups and rounded down. It does not know cores, and `num_cpus` knows only how many the whole
/// machine has; but containers are often pinned to both hardware threads of a few cores.
pub(crate) fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    allowed_cores().unwrap_or_else(num_cpus::get_physical).clamp(1, allowed)
}

/// The number of physical cores that the calling thread may run on, where Linux reports it.
fn allowed_cores() -> Option<usize> {
    let status = read_to_string("/proc/thread-self/status").ok()?;
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    count_cores(cpus, |cpu| {
        let core = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        read_to_string(core).ok()
    })
}

/// How many cores the CPUs of a list like `0-3,8` belong to. `core_of` names the core of a CPU; it
/// knows none for one that could be plugged in but is not, which the list may contain.
fn count_cores(cpus: &str, core_of: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let mut cores = BTreeSet::new();
    for range in cpus.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend((first.parse().ok()?..=last.parse().ok()?).filter_map(&core_of));
    }
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight CPUs, each beside its neighbor.
    fn pairs(cpu: usize) -> Option<String> {
        let first = cpu / 2 * 2;
        (cpu < 8).then(|| format!("{first}-{}\n", first + 1))
    }

    #[test]
    fn two_hardware_threads_of_a_core_count_once() {
        assert_eq!(count_cores("\t0-7\n", pairs), Some(4));
        assert_eq!(count_cores("\t0-1\n", pairs), Some(1));
        assert_eq!(count_cores("\t0,2-3,7\n", pairs), Some(3));
    }

    #[test]
    fn absent_cpus_do_not_count() {
        assert_eq!(count_cores("\t6-127\n", pairs), Some(1));
        assert_eq!(count_cores("\t64\n", pairs), None);
        assert_eq!(count_cores("nonsense", pairs), None);
    }

    #[test]
    fn the_default_is_at_least_one_and_at_most_what_is_allowed() {
        let allowed = std::thread::available_parallelism().unwrap().get();
        assert!((1..=allowed).contains(&default_threads()));
    }
}
