//go:build gc

#include "textflag.h"

// func fxsave(buf *[528]byte) (off uintptr)
TEXT ·fxsave(SB), NOSPLIT, $0-16
	MOVQ buf+0(FP), AX
	MOVQ AX, BX
	ADDQ $15, AX
	ANDQ $~15, AX
	FXSAVE (AX)
	SUBQ BX, AX
	MOVQ AX, off+8(FP)
	RET
