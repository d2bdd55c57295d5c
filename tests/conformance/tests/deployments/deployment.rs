//! A deployment: the settings that it passes, and its probes.

/// The settings and probes of a deployment. In texts, `{dir}` is its folder, `{pki}` the folder of
/// the certificates, and `{client}`, `{peer}`, `{http}` and `{metrics}` are ports.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) name: &'static str,
    /// Flags, one a word.
    pub(crate) flags: &'static str,
    /// Variables, as `NAME=value`, one a line.
    pub(crate) variables: &'static str,
    /// The configuration file; the flag or variable that names it has `{dir}/config.yaml`.
    pub(crate) yaml: &'static str,
    /// Whether etcd 3.7 starts with all of this, too.
    pub(crate) is_for_3_7: bool,
    pub(crate) probes: &'static [Probe],
    /// Parts of Quorate's log.
    pub(crate) says: &'static [&'static str],
}

/// A question of a deployment.
#[derive(Debug)]
pub(crate) enum Probe {
    /// The page at an address, which answers with the status 200.
    Page(&'static str, &'static str),
    /// A key is written and read back, at a URL.
    Keys(&'static str),
}

/// A deployment without settings, to begin with.
pub(crate) const NONE: Deployment = Deployment {
    name: "",
    flags: "",
    variables: "",
    yaml: "",
    is_for_3_7: true,
    probes: &[],
    says: &[],
};
