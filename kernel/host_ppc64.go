package kernel

import "cr/regset"

var hostABI = regset.PPC64

const hostBigEndian = true
