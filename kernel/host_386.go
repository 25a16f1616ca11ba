package kernel

import "cr/regset"

var hostABI = regset.I386

const hostBigEndian = false
