package kernel

import "cr/regset"

var hostABI = regset.PPC64LE

const hostBigEndian = false
