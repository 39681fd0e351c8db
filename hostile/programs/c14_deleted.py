# C14: run a program whose file is already deleted, and let it call itself something else.
import os, shutil
shutil.copy("/bin/true", "vanishing")
os.chmod("vanishing", 0o755)
descriptor = os.open("vanishing", os.O_RDONLY)
os.unlink("vanishing")
child = os.fork()
if child == 0:
    os.execve(descriptor, ["/usr/sbin/sshd: listener"], {})
print("DONE: a deleted program ran" if os.waitpid(child, 0)[1] == 0 else "BLOCKED: a deleted program did not run")
