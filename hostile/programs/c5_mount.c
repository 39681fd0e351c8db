/* C5: change what is seen where. Argument: the call. Nothing outlives the namespace that this runs in as a control. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

static long attempt(const char *call) {
    if (!strcmp(call, "mount")) return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, "size=4k");
    if (!strcmp(call, "bind")) return syscall(SYS_mount, "/tmp", "/tmp", NULL, MS_BIND, NULL);
    if (!strcmp(call, "remount")) { /* the control needs a mount of its own to change */
        syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, "size=4k");
        return syscall(SYS_mount, NULL, "/tmp", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL);
    }
    if (!strcmp(call, "umount2")) {
        syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, "size=4k");
        return syscall(SYS_umount2, "/tmp", MNT_DETACH);
    }
    if (!strcmp(call, "pivot_root")) {
        syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
        syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, "size=4k");
        mkdir("/tmp/old", 0700);
        return syscall(SYS_pivot_root, "/tmp", "/tmp/old");
    }
    if (!strcmp(call, "chroot")) return syscall(SYS_chroot, "/tmp");
    if (!strcmp(call, "fsopen")) return syscall(SYS_fsopen, "tmpfs", 0);
    if (!strcmp(call, "open_tree")) return syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 /* OPEN_TREE_CLONE */);
    if (!strcmp(call, "move_mount")) {
        long tree = syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1);
        return syscall(SYS_move_mount, tree, "", AT_FDCWD, "/tmp", 4 /* MOVE_MOUNT_F_EMPTY_PATH */);
    }
    if (!strcmp(call, "mount_setattr")) {
        unsigned long long attributes[4] = {1 /* MOUNT_ATTR_RDONLY */, 0, 0, 0};
        syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, "size=4k");
        return syscall(SYS_mount_setattr, AT_FDCWD, "/tmp", 0, attributes, sizeof attributes);
    }
    errno = EINVAL;
    return could_not(call);
}

int main(int argc, char **argv) {
    const char *call = argc > 1 ? argv[1] : "mount";
    if (attempt(call) < 0) return blocked(call);
    return escaped(call);
}
