/* C9: type into a terminal as if its user had. On a terminal of our own, so that a success harms nobody. Argument: TIOCSTI or TIOCLINUX. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

static int attempt(const char *how) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) return could_not("a terminal");
    setsid();
    int slave = open(ptsname(master), O_RDWR);
    if (slave < 0) return could_not("the terminal's other end");
    ioctl(slave, TIOCSCTTY, 0);
    char typed = strcmp(how, "TIOCSTI") ? 2 /* paste */ : 'x';
    if (ioctl(slave, strcmp(how, "TIOCSTI") ? TIOCLINUX : TIOCSTI, &typed) < 0) {
        if (!strcmp(how, "TIOCLINUX") && (errno == ENOTTY || errno == EINVAL)) return escaped("the terminal driver took the call");
        return blocked(how);
    }
    return escaped("typed into a terminal");
}

int main(int argc, char **argv) {
    pid_t child = fork(); /* a session leader cannot make a session */
    if (child == 0) return attempt(argc > 1 ? argv[1] : "TIOCSTI");
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
