/* C3: become root by asking for it. Without no_new_privs and with root's uid mapped, this works. */
#include "../include/verdict.h"

int main(void) {
    if (syscall(SYS_setresuid, 0, 0, 0) < 0) return blocked("setresuid(0, 0, 0)");
    if (geteuid() != 0) { errno = 0; return blocked("setresuid said yes and changed nothing"); }
    return escaped("uid 0");
}
