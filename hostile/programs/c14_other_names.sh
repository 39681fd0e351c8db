#!/bin/sh
# C14: run programs so that their names mislead: through the loader, from a copy that is deleted, through a chain of interpreters, from
# shared memory. All permitted; the record must say what really ran.
loader=$(ls /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-aarch64.so.1 2>/dev/null | head -n 1)
"$loader" /bin/echo innocent || { echo "COULD NOT: no loader"; exit 2; }
cp /bin/true ./first-link && chmod +x ./first-link
printf '#!/bin/sh\n:\n' >./chain && chmod +x ./chain
printf '#!%s/chain\n:\n' "$PWD" >./script && chmod +x ./script && ./script
rm -f ./first-link ./chain ./script
if [ -w /dev/shm ]; then
    cp /bin/true /dev/shm/innocent && /dev/shm/innocent
    rm -f /dev/shm/innocent
fi
echo "DONE: ran under four misleading names"
