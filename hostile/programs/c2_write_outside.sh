#!/bin/sh
# C2, C4: write where only the system may. Arguments: directories.
for directory in "$@"; do
    if : 2>/dev/null >"$directory/wardroom-hostile"; then
        rm -f "$directory/wardroom-hostile"
        echo "ESCAPED: wrote into $directory"
        exit 0
    fi
done
echo "BLOCKED: $# directories refused"
exit 1
