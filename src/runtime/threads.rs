//! How many threads a run should use on this machine.

/// Physical cores, but no more than the affinity mask and the cgroup quota of this process allow:
/// a second thread on a core does not help a matrix product, and one beyond a quota stalls it.
pub(crate) fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed)
}
