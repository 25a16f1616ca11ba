/* Class gpr. */
#include "cr.inc"
#include "gpr.inc"

	target	GPRSIZE
	gpr_data
