//! Where control groups are: what `/proc/self/cgroup` and `/proc/self/mountinfo` say, as directories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The keeper's own groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Mount point, and own group, of the second version.
    unified: Option<(PathBuf, PathBuf)>,
    /// Controllers and own group in each hierarchy of the first version.
    legacy: Vec<(Vec<String>, PathBuf)>,
}

impl Places {
    pub(super) fn of_this_process() -> io::Result<Self> {
        Ok(Self::parse(
            &fs::read_to_string("/proc/self/cgroup")?,
            &fs::read_to_string("/proc/self/mountinfo")?,
        ))
    }

    fn parse(groups: &str, mounts: &str) -> Self {
        let mounts: Vec<MountLine<'_>> = mounts.lines().filter_map(MountLine::parse).collect();
        let mut places = Self::default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(own)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            if controllers.is_empty() {
                let mount = mounts.iter().find(|mount| mount.kind == "cgroup2");
                places.unified = mount.and_then(|mount| Some((mount.point.into(), mount.directory(own)?)));
            } else {
                let controllers: Vec<String> = controllers.split(',').map(str::to_owned).collect();
                let mount = mounts.iter().find(|mount| mount.has(&controllers));
                if let Some(directory) = mount.and_then(|mount| mount.directory(own)) {
                    places.legacy.push((controllers, directory));
                }
            }
        }
        places
    }

    /// Directories of the second version in which a group may be made, nearest first, if it has these controllers.
    pub(super) fn unified(&self, wanted: &[&str]) -> Option<Vec<PathBuf>> {
        let (mount, own) = self.unified.as_ref()?;
        let has = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
        if !wanted.iter().all(|wanted| has.split_whitespace().any(|has| has == *wanted)) {
            return None;
        }
        Some(own.ancestors().take_while(|place| place.starts_with(mount)).map(Path::to_path_buf).collect())
    }

    /// The keeper's own group of the first version that has this controller.
    pub(super) fn legacy(&self, controller: &str) -> Option<&Path> {
        let found = self.legacy.iter().find(|(has, _)| has.iter().any(|has| has == controller));
        found.map(|(_, directory)| directory.as_path())
    }
}

/// One mount of a hierarchy.
#[derive(Debug)]
struct MountLine<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> MountLine<'a> {
    /// `36 35 0:30 / /sys/fs/cgroup/memory rw,relatime shared:13 - cgroup cgroup rw,memory` (proc(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let (root, point) = {
            let mut fields = mount.split(' ').skip(3);
            (fields.next()?, fields.next()?)
        };
        let mut fields = filesystem.split(' ');
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        kind.starts_with("cgroup").then_some(Self { root, point, kind, options })
    }

    fn has(&self, controllers: &[String]) -> bool {
        let named = |controller: &String| self.options.split(',').any(|option| option == controller);
        self.kind == "cgroup" && controllers.iter().all(named)
    }

    /// The directory of a group; `None` when it lies outside of what is mounted.
    fn directory(&self, own: &str) -> Option<PathBuf> {
        let relative = Path::new(own).strip_prefix(self.root).ok()?;
        Some(if relative.as_os_str().is_empty() {
            self.point.into()
        } else {
            Path::new(self.point).join(relative)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_is_found_where_it_is_mounted() {
        let places = Places::parse(
            "0::/user.slice/app.scope\n",
            "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        let own = PathBuf::from("/sys/fs/cgroup/user.slice/app.scope");
        assert_eq!(places.unified, Some(("/sys/fs/cgroup".into(), own)));
    }

    #[test]
    fn each_hierarchy_of_the_first_version_is_found_by_its_controllers() {
        let places = Places::parse(
            "4:memory:/a/b\n3:cpu,cpuacct:/\n9:name=systemd:/\n",
            "1 2 0:3 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             1 2 0:4 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        assert_eq!(places.legacy("memory"), Some(Path::new("/sys/fs/cgroup/memory/b")));
        assert_eq!(places.legacy("cpu"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(places.legacy("pids"), None);
    }
}
