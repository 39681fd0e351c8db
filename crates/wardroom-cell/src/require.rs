//! What a host must have for a cell, and why it may forbid one. Missing means no: there is no lesser cell.

use wardroom_kernel::features::KernelFeatures;
use wardroom_kernel::landlock;

use crate::error::CellError;

/// What every missing call comes to: all of them have been in every kernel since 6.2.
const NEWER_KERNEL: &str =
    "Linux 6.2 or newer is needed (Debian 12 with a backported kernel, Ubuntu 24.04, Fedora 38)";
const LANDLOCK: &str =
    "Linux 6.2 or newer is needed, with `landlock` in CONFIG_LSM or in the kernel's `lsm=` parameter";

/// Refuses a kernel that lacks anything.
///
/// # Errors
/// The first thing that is missing.
pub fn require(features: &KernelFeatures) -> Result<(), CellError> {
    let KernelFeatures { clone3, pidfd, openat2, close_range, mount_setattr, notification, landlock } =
        *features;
    let calls = [
        (clone3, "clone3"),
        (pidfd, "pidfd_open"),
        (openat2, "openat2"),
        (close_range, "close_range"),
        (mount_setattr, "mount_setattr"),
        (notification, "seccomp user notification"),
    ];
    if let Some((_, feature)) = calls.into_iter().find(|(there, _)| !there) {
        return Err(CellError::Missing { feature, remedy: NEWER_KERNEL });
    }
    match landlock {
        0 => Err(CellError::Missing { feature: "Landlock", remedy: LANDLOCK }),
        1..landlock::LOWEST => Err(CellError::Missing { feature: "Landlock of level 3", remedy: LANDLOCK }),
        landlock::LOWEST.. => Ok(()),
    }
}

/// The host's switches over user namespaces; `None` where the host has no such switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSwitches {
    /// `kernel.unprivileged_userns_clone` (Debian's patch): 0 forbids.
    pub unprivileged_userns_clone: Option<String>,
    /// `user.max_user_namespaces`: 0 forbids.
    pub max_user_namespaces: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu): 1 forbids programs without a profile.
    pub apparmor_restrict: Option<String>,
}

impl NamespaceSwitches {
    /// Reads the host's. Only asked when something failed, so that a good start costs nothing.
    #[must_use]
    pub fn of_this_host() -> Self {
        let read = |path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self {
            unprivileged_userns_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
            max_user_namespaces: read("/proc/sys/user/max_user_namespaces"),
            apparmor_restrict: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// The switch that explains a refusal, if one does.
    #[must_use]
    pub fn explain(&self) -> Option<CellError> {
        let (why, remedy) = if self.max_user_namespaces.as_deref() == Some("0") {
            ("user.max_user_namespaces is 0", "as root: sysctl -w user.max_user_namespaces=15000")
        } else if self.unprivileged_userns_clone.as_deref() == Some("0") {
            ("kernel.unprivileged_userns_clone is 0", "as root: sysctl -w kernel.unprivileged_userns_clone=1")
        } else if self.apparmor_restrict.as_deref() == Some("1") {
            (
                "kernel.apparmor_restrict_unprivileged_userns is 1 and wardroom has no AppArmor profile",
                "install the profile that is shipped as packaging/apparmor/wardroom: \
                 as root, copy it to /etc/apparmor.d/ and run `apparmor_parser -r /etc/apparmor.d/wardroom`",
            )
        } else {
            return None;
        };
        Some(CellError::NamespacesForbidden { why, remedy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: KernelFeatures = KernelFeatures {
        clone3: true,
        pidfd: true,
        openat2: true,
        close_range: true,
        mount_setattr: true,
        notification: true,
        landlock: 3,
    };

    #[test]
    fn every_missing_feature_is_named_with_a_remedy() {
        assert!(require(&ALL).is_ok());
        let missing = [
            (KernelFeatures { clone3: false, ..ALL }, "clone3"),
            (KernelFeatures { pidfd: false, ..ALL }, "pidfd_open"),
            (KernelFeatures { openat2: false, ..ALL }, "openat2"),
            (KernelFeatures { close_range: false, ..ALL }, "close_range"),
            (KernelFeatures { mount_setattr: false, ..ALL }, "mount_setattr"),
            (KernelFeatures { notification: false, ..ALL }, "notification"),
            (KernelFeatures { landlock: 0, ..ALL }, "Landlock"),
            (KernelFeatures { landlock: 2, ..ALL }, "Landlock of level 3"),
        ];
        for (features, word) in missing {
            let message = require(&features).unwrap_err().to_string();
            assert!(message.contains(word) && message.contains("6.2"), "{message}");
        }
    }

    #[test]
    fn each_switch_of_the_host_is_named_with_its_remedy() {
        let open = NamespaceSwitches {
            unprivileged_userns_clone: Some("1".into()),
            max_user_namespaces: Some("96365".into()),
            apparmor_restrict: Some("0".into()),
        };
        assert!(open.explain().is_none());
        let closed = [
            NamespaceSwitches { max_user_namespaces: Some("0".into()), ..open.clone() },
            NamespaceSwitches { unprivileged_userns_clone: Some("0".into()), ..open.clone() },
            NamespaceSwitches { apparmor_restrict: Some("1".into()), ..open },
        ];
        for (switches, remedy) in
            closed.iter().zip(["max_user_namespaces=15000", "userns_clone=1", "apparmor_parser"])
        {
            let message = switches.explain().unwrap().to_string();
            assert!(message.contains(remedy), "{message}");
        }
    }
}
