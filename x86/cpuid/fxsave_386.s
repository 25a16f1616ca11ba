//go:build gc

#include "textflag.h"

// func fxsave(buf *[528]byte) (off uintptr)
TEXT ·fxsave(SB), NOSPLIT, $0-8
	MOVL buf+0(FP), AX
	MOVL AX, BX
	ADDL $15, AX
	ANDL $~15, AX
	FXSAVE (AX)
	SUBL BX, AX
	MOVL AX, off+4(FP)
	RET
