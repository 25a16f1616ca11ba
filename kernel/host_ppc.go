package kernel

import "cr/regset"

var hostABI = regset.PPC

const hostBigEndian = true
