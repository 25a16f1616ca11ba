package kernel

import "cr/regset"

var hostABI = regset.X86_64

const hostBigEndian = false
