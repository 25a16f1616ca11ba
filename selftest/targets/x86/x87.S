/*
 * The x87 state by FRSTOR and FNSAVE: control, status and tag words and the
 * register stack, with a top that is not 0, tags of all four kinds, rounding
 * and precision that are not the default, exceptions that are flagged where
 * masked and unmasked where not flagged.
 */
#include "cr.inc"

	.macro load set
	frstor	M(x87_\set)
	.endm

	.macro store
	fnsave	M(dump)
	.endm

	.macro st exponent, mantissa
	.quad	\mantissa
	.short	\exponent
	.endm

	target	108

x87_p:
	.long	0xffff0b6a, 0xffff6a2a, 0xffff9332, 0, 0, 0, 0
	st	0x4001, 0x9e3779b13c6ef362
	st	0x8000, 0
	st	0x7fff, 0x8000000000000000	/* infinity */
	st	0x0000, 0x0123456789abcdef	/* denormal */
	st	0xbf02, 0xdaa66d2b78dde6c4
	st	0x3f03, 0x9715609d5384d9a6	/* empty */
	st	0xc104, 0xb54cda562e1b4c07
	st	0x3a05, 0xf29c3c6fb1a2d3e5	/* empty */
x87_q:
	.long	0xffff0455, 0xffff1555, 0xffff2dc8, 0, 0, 0, 0
	st	0xbffe, 0xe1c8864ec3910c9d
	st	0x7fff, 0xffffffffffffffff	/* empty */
	st	0x0000, 0
	st	0x7fff, 0x8edcba9876543210	/* empty */
	st	0x40fd, 0x255992d487221931	/* unnormal */
	st	0xc0fc, 0xe8ea9f62ac7b2659
	st	0x3efb, 0xcab325a9d1e4b3f8
	st	0xffff, 0x8d63c3904e5d2c1a	/* signalling NaN */
