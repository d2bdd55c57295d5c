"""Cuts the power of a disk: python3 cut_power.py MOUNT DISK SEED

DISK is a file in the ext4 file system that is mounted at MOUNT. A random part of the unsynced data
still reaches the disk, as from the cache of a real disk. The rest is lost, because the file system
is shut down without a sync.
"""

import ctypes
import fcntl
import os
import random
import struct
import sys

# _IOR('X', 125, __u32), and the flag that leaves the journal as it is.
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
# Wait for writes in progress, write the remaining data, and wait for these writes.
WRITE_AND_WAIT = 1 | 2 | 4

mount, disk, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = random.Random(seed)
sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

written = os.open(disk, os.O_RDWR)
chance = rng.choice([0, 0, 0.1, 0.5, 0.9])
piece = rng.choice([4, 16, 64, 256]) * 1024
size = os.fstat(written).st_size
for offset in range(0, size, piece) if chance else ():
    if rng.random() < chance and sync_file_range(written, offset, piece, WRITE_AND_WAIT) != 0:
        sys.exit(f"sync_file_range: {os.strerror(ctypes.get_errno())}")
root = os.open(mount, os.O_RDONLY)
fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
