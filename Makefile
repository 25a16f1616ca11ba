# make demo     checkpoint and restart, on this machine and in guests
# make test     all tests; builds the guest kernels the first time (40 minutes on two cores)
# make boot     a shell in a guest, in seconds: ARCH=ppc32, ppc64, ppc64le, e500v2, i386, x86_64 or a guest's name,
#               KERNEL=file CPU= MACHINE= QEMU= APPEND='...' HOST=directory GDB=1
# make kernels  the guest kernels
# make ppc32    what runs in 32-bit powerpc guests, which another compiler builds
# make lint     gofmt, go vet, staticcheck
# make bench    how long a checkpoint and a restart take
# make clean    remove what was built, except for the kernels

ARCH ?= ppc32
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

demo:
	scripts/setup demo
	scripts/demo

test:
	scripts/setup test
	scripts/kernels
	$(MAKE) lint ppc32
	go test -timeout 60m ./...

boot: targets
	@go run ./vmtests/boot \
		$(if $(KERNEL),-kernel '$(KERNEL)') $(if $(CPU),-cpu '$(CPU)') $(if $(MACHINE),-machine '$(MACHINE)') \
		$(if $(QEMU),-qemu '$(QEMU)') $(if $(APPEND),-append '$(APPEND)') $(if $(HOST),-host '$(HOST)') \
		$(if $(GDB),-gdb) $(ARCH)

kernels:
	scripts/kernels

ppc32: targets
	go run ./initramfs/mk -arch ppc32

# The programs in assembly that cr selftest runs. They are part of cr.
targets:
	@$(MAKE) -s -C selftest/targets

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

bench: targets
	go test -run '^$$' -bench . ./...

clean:
	$(MAKE) -C selftest/targets clean
	rm -rf "$${CR_CACHE:-$$HOME/.cache/cr}/initramfs"

.PHONY: demo test boot kernels ppc32 targets lint bench clean
