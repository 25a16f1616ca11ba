// Package ppc reads, checks and fits the register state of powerpc tasks: 32
// and 64 bit, big and little endian. It is pure: bytes in, state out, so that
// any host can check and rewrite a powerpc image.
//
// One file per register set, as arch/powerpc/kernel/ptrace has it, and one line
// per set in the table of table.go. feature.go lists the CPU features, standin.go
// says what may stand in for what.
package ppc
