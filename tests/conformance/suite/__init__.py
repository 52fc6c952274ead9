"""The judges behind the scripts in the folder above; see README.md there."""
import signal
import sys

# Without this a TERM would skip every `finally`, and with it the killing of brokers and the unmounting of disks.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
