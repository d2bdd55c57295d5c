//! Names, labels, ports and file names that the operator, its charts and its users share.

/// The API group of all kinds.
pub const GROUP: &str = "quorate.dev";
/// The manager of fields that the operator applies.
pub const MANAGER: &str = "quorate-operator";

/// Label: the name of the cluster that an object belongs to.
pub const LABEL_CLUSTER: &str = "quorate.dev/cluster";
/// Label: the name of the member that an object belongs to.
pub const LABEL_MEMBER: &str = "quorate.dev/member";
/// Label of pods: [`ROLE_VOTER`] or [`ROLE_LEARNER`].
pub const LABEL_ROLE: &str = "quorate.dev/role";
/// The role of a member that votes.
pub const ROLE_VOTER: &str = "voter";
/// The role of a member that does not vote yet.
pub const ROLE_LEARNER: &str = "learner";
/// Label: the program that manages the object, always [`MANAGER`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: the application, always [`APPLICATION`].
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label: the cluster's name, for tools that know only Kubernetes' recommended labels.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// The value of [`LABEL_NAME`].
pub const APPLICATION: &str = "quorate";

/// Annotation of pods: the hash of the settings that the pod was made with.
pub const ANNOTATION_SETTINGS: &str = "quorate.dev/settings";
/// Annotation of volume claims: the reason why the volume is kept.
pub const ANNOTATION_KEPT: &str = "quorate.dev/kept";
/// Annotation of a cluster: a new value restarts all members, one at a time.
pub const ANNOTATION_RESTART: &str = "quorate.dev/restart";

/// The port of clients.
pub const PORT_CLIENT: u16 = 2379;
/// The port of other members.
pub const PORT_PEER: u16 = 2380;
/// The port of probes and metrics, without TLS.
pub const PORT_METRICS: u16 = 2381;

/// The headless Service by which members find each other.
#[must_use]
pub fn peer_service(cluster: &str) -> String {
    format!("{cluster}-peer")
}

/// The Service of clients. It has the ready voters.
#[must_use]
pub fn client_service(cluster: &str) -> String {
    format!("{cluster}-client")
}

/// The Secret with the authority that signs the certificates of clients and of servers for clients.
#[must_use]
pub fn client_ca(cluster: &str) -> String {
    format!("{cluster}-client-ca")
}

/// The Secret with the authority that signs the certificates between members.
#[must_use]
pub fn peer_ca(cluster: &str) -> String {
    format!("{cluster}-peer-ca")
}

/// The Secret with the operator's own client certificate.
#[must_use]
pub fn operator_client(cluster: &str) -> String {
    format!("{cluster}-operator")
}

/// The Secret of a client of `spec.clients`.
#[must_use]
pub fn client_secret(cluster: &str, client: &str) -> String {
    format!("{cluster}-client-{client}")
}

/// The name of the member with a number, of its pod, and of its Secret. A number is never used
/// twice.
#[must_use]
pub fn member(cluster: &str, number: i64) -> String {
    format!("{cluster}-{number}")
}

/// The claim of a member's volume.
#[must_use]
pub fn volume(member: &str) -> String {
    format!("data-{member}")
}

/// The URL at which a member answers other members.
#[must_use]
pub fn peer_url(cluster: &str, member: &str, namespace: &str) -> String {
    format!("https://{member}.{}.{namespace}.svc:{PORT_PEER}", peer_service(cluster))
}

/// The URL at which a member answers clients.
#[must_use]
pub fn client_url(cluster: &str, member: &str, namespace: &str) -> String {
    format!("https://{member}.{}.{namespace}.svc:{PORT_CLIENT}", peer_service(cluster))
}

/// The URL for clients of the whole cluster.
#[must_use]
pub fn endpoint(cluster: &str, namespace: &str) -> String {
    format!("https://{}.{namespace}.svc:{PORT_CLIENT}", client_service(cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API server admits cluster names of up to 40 characters, and a label of a host name has
    /// up to 63.
    #[test]
    fn names_of_the_longest_cluster_are_host_names() {
        let cluster = "a".repeat(40);
        let member = member(&cluster, i64::MAX);
        for name in [member, peer_service(&cluster), client_service(&cluster)] {
            assert!(name.len() <= 63, "{name}");
        }
    }

    #[test]
    fn a_client_has_no_secret_of_the_operator() {
        let own = [client_ca("main"), peer_ca("main"), operator_client("main"), member("main", 1)];
        for client in ["app", "peer", "operator", "peer-ca", "1"] {
            assert!(!own.contains(&client_secret("main", client)), "{client}");
        }
        // The API server refuses this name.
        assert_eq!(client_secret("main", "ca"), client_ca("main"));
    }
}
