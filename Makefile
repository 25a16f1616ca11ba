# make cr       the utility: ./cr
# make demo     checkpoint and restart, on this machine and in guests
# make test     all tests; builds kernels the first time (half an hour)
# make matrix   the tests in guests, and the tables of their results in docs/moving.md and the README
# make boot     a shell in a guest, in seconds: ARCH=ppc32, ppc64, ppc64le, e500v2, i386, x86_64 or a guest's name,
#               KERNEL=file CPU= MACHINE= QEMU= APPEND='...' HOST=directory GDB=1 V=1
# make kernels  the guest kernels
# make ppc32    what runs in 32-bit powerpc guests, which another compiler builds
# make lint     gofmt, go vet, staticcheck
# make fuzz     fuzz every reader and decoder, FUZZTIME=10s each
# make bench    how long a checkpoint and a restart take
# make clean    remove what was built, except for the kernels

ARCH ?= ppc32
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

cr: targets
	CGO_ENABLED=0 go build ./cmd/cr

demo:
	scripts/setup demo
	scripts/demo

test:
	scripts/setup test
	scripts/kernels
	$(MAKE) lint ppc32
	go test -timeout 20m $$(go list ./... | grep -v '/vmtests$$')
	@# Other users run it too, so it lies where they may go.
	dir=$$(mktemp -d) && trap 'rm -r "$$dir"' EXIT && chmod 755 "$$dir" && go build -o "$$dir/cr" ./cmd/cr && "$$dir/cr" selftest
	@# By themselves, as they keep all processors busy.
	go test -timeout 60m ./vmtests

matrix: targets
	scripts/setup test
	scripts/kernels
	log=$$(mktemp) && trap 'rm "$$log"' EXIT && { \
		go test -json -timeout 80m ./vmtests -run 'TestGuest|TestMove|TestWordSize|TestClock|TestThereAndBack|TestRunLow|TestHWCAP|TestPrograms|TestSysV' >"$$log"; \
		go run ./vmtests/matrix docs/moving.md README.md <"$$log"; }

boot: targets
	@go run ./vmtests/boot \
		$(if $(KERNEL),-kernel '$(KERNEL)') $(if $(CPU),-cpu '$(CPU)') $(if $(MACHINE),-machine '$(MACHINE)') \
		$(if $(QEMU),-qemu '$(QEMU)') $(if $(APPEND),-append '$(APPEND)') $(if $(HOST),-host '$(HOST)') \
		$(if $(GDB),-gdb) $(if $(V),-v) $(ARCH)

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
	@# With CRIU, the peer, to compare with if it can be had.
	criu=$$(scripts/criu) && PATH="$${criu:+$$criu:}$$PATH" go run ./bench

fuzz:
	FUZZTIME='$(or $(FUZZTIME),10s)' scripts/fuzz

clean:
	$(MAKE) -C selftest/targets clean
	rm -rf "$${CR_CACHE:-$$HOME/.cache/cr}/initramfs"

.PHONY: cr demo test matrix boot kernels ppc32 targets lint bench fuzz clean
