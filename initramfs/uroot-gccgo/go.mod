module cr/initramfs/uroot-gccgo

go 1.23.0

require github.com/u-root/u-root v0.11.0

require (
	github.com/dustin/go-humanize v1.0.0 // indirect
	github.com/klauspost/compress v1.10.6 // indirect
	github.com/klauspost/pgzip v1.2.4 // indirect
	github.com/mattn/go-colorable v0.1.7 // indirect
	github.com/mattn/go-isatty v0.0.14 // indirect
	github.com/mattn/go-runewidth v0.0.9 // indirect
	github.com/mattn/go-tty v0.0.3 // indirect
	github.com/pkg/term v1.2.0-beta.2 // indirect
	github.com/rck/unit v0.0.3 // indirect
	github.com/spf13/pflag v1.0.5 // indirect
	github.com/u-root/prompt v0.0.0-20221110083427-a2ad3c8339a8 // indirect
	github.com/ulikunitz/xz v0.5.8 // indirect
	github.com/vishvananda/netlink v1.1.1-0.20211118161826-650dca95af54 // indirect
	github.com/vishvananda/netns v0.0.0-20210104183010-2eb08e3e575f // indirect
	golang.org/x/sync v0.0.0-20220722155255-886fb9371eb4 // indirect
	golang.org/x/sys v0.31.0 // indirect
	golang.org/x/term v0.1.0 // indirect
	mvdan.cc/sh/v3 v3.4.1 // indirect
)
