package x86

import "cr/regset"

// Features of x86 tasks and machines. The first are those whose use the
// register state shows; the others are instructions that a program may use and
// that leave no trace in it. A bit keeps its number for ever.
const (
	FPU regset.Mask = 1 << iota
	FXSR
	SSE
	XSAVE
	AVX
	MPX
	AVX512F
	PKU
	AMX
	APX
	SHSTK
	DEBUG
	LDT
	TLS
	LM
	FSGSBASE
	IOPERM
	LA57
	CX8
	CMOV
	MMX
	SSE2
	SSE3
	SSSE3
	SSE41
	SSE42
	POPCNT
	CX16
	LAHF
	MOVBE
	AES
	PCLMULQDQ
	RDRAND
	RDSEED
	F16C
	FMA
	AVX2
	BMI1
	BMI2
	ABM
	ADX
	SHA
	CLFLUSHOPT
	CLWB
	RTM
	RDTSCP
	RDPID
	XSAVEC
	XSAVEOPT
	GFNI
	VAES
	VPCLMULQDQ
	AVXVNNI
	AVX512CD
	AVX512BW
	AVX512DQ
	AVX512VL
	AVX512IFMA
	AVX512VBMI
	AVX512VNNI
	AVX512BF16
	AVX512FP16
	AVX512VBMI2
)

// features is in the order of the bits. Names are those of /proc/cpuinfo where
// it has one.
var features = []regset.Feature{
	{Bit: FPU, Name: "fpu", Doc: "x87 floating point"},
	{Bit: FXSR, Name: "fxsr", Doc: "FXSAVE and FXRSTOR"},
	{Bit: SSE, Name: "sse", Doc: "SSE and the registers XMM and MXCSR"},
	{Bit: XSAVE, Name: "xsave", Doc: "XSAVE, enabled by the kernel"},
	{Bit: AVX, Name: "avx", Doc: "AVX and the upper halves of YMM"},
	{Bit: MPX, Name: "mpx", Doc: "bound registers"},
	{Bit: AVX512F, Name: "avx512f", Doc: "AVX-512, its masks and registers ZMM"},
	{Bit: PKU, Name: "pku", Doc: "protection keys and PKRU"},
	{Bit: AMX, Name: "amx_tile", Doc: "AMX tiles, with AMX-INT8 and AMX-BF16"},
	{Bit: APX, Name: "apx", Doc: "general registers R16 to R31"},
	{Bit: SHSTK, Name: "shstk", Doc: "user shadow stack"},
	{Bit: DEBUG, Name: "debug", Doc: "breakpoints in debug registers"},
	{Bit: LDT, Name: "ldt", Doc: "local descriptor table (modify_ldt)"},
	{Bit: TLS, Name: "tls", Doc: "TLS descriptors (set_thread_area)"},
	{Bit: LM, Name: "lm", Doc: "64-bit mode"},
	{Bit: FSGSBASE, Name: "fsgsbase", Doc: "RDFSBASE and its kin"},
	{Bit: IOPERM, Name: "ioperm", Doc: "I/O port permissions"},
	{Bit: LA57, Name: "la57", Doc: "57-bit addresses"},
	{Bit: CX8, Name: "cx8", Doc: "CMPXCHG8B"},
	{Bit: CMOV, Name: "cmov", Doc: "CMOVcc"},
	{Bit: MMX, Name: "mmx", Doc: "MMX"},
	{Bit: SSE2, Name: "sse2", Doc: "SSE2"},
	{Bit: SSE3, Name: "sse3", Doc: "SSE3"},
	{Bit: SSSE3, Name: "ssse3", Doc: "SSSE3"},
	{Bit: SSE41, Name: "sse4_1", Doc: "SSE4.1"},
	{Bit: SSE42, Name: "sse4_2", Doc: "SSE4.2"},
	{Bit: POPCNT, Name: "popcnt", Doc: "POPCNT"},
	{Bit: CX16, Name: "cx16", Doc: "CMPXCHG16B"},
	{Bit: LAHF, Name: "lahf_lm", Doc: "LAHF and SAHF in 64-bit mode"},
	{Bit: MOVBE, Name: "movbe", Doc: "MOVBE"},
	{Bit: AES, Name: "aes", Doc: "AES-NI"},
	{Bit: PCLMULQDQ, Name: "pclmulqdq", Doc: "PCLMULQDQ"},
	{Bit: RDRAND, Name: "rdrand", Doc: "RDRAND"},
	{Bit: RDSEED, Name: "rdseed", Doc: "RDSEED"},
	{Bit: F16C, Name: "f16c", Doc: "half precision conversion"},
	{Bit: FMA, Name: "fma", Doc: "fused multiply-add"},
	{Bit: AVX2, Name: "avx2", Doc: "AVX2"},
	{Bit: BMI1, Name: "bmi1", Doc: "bit manipulation, first set"},
	{Bit: BMI2, Name: "bmi2", Doc: "bit manipulation, second set"},
	{Bit: ABM, Name: "abm", Doc: "LZCNT"},
	{Bit: ADX, Name: "adx", Doc: "ADCX and ADOX"},
	{Bit: SHA, Name: "sha_ni", Doc: "SHA-NI"},
	{Bit: CLFLUSHOPT, Name: "clflushopt", Doc: "CLFLUSHOPT"},
	{Bit: CLWB, Name: "clwb", Doc: "CLWB"},
	{Bit: RTM, Name: "rtm", Doc: "restricted transactional memory"},
	{Bit: RDTSCP, Name: "rdtscp", Doc: "RDTSCP"},
	{Bit: RDPID, Name: "rdpid", Doc: "RDPID"},
	{Bit: XSAVEC, Name: "xsavec", Doc: "XSAVEC"},
	{Bit: XSAVEOPT, Name: "xsaveopt", Doc: "XSAVEOPT"},
	{Bit: GFNI, Name: "gfni", Doc: "Galois field instructions"},
	{Bit: VAES, Name: "vaes", Doc: "AES on vectors"},
	{Bit: VPCLMULQDQ, Name: "vpclmulqdq", Doc: "PCLMULQDQ on vectors"},
	{Bit: AVXVNNI, Name: "avx_vnni", Doc: "AVX-VNNI"},
	{Bit: AVX512CD, Name: "avx512cd", Doc: "AVX-512 conflict detection"},
	{Bit: AVX512BW, Name: "avx512bw", Doc: "AVX-512 bytes and words"},
	{Bit: AVX512DQ, Name: "avx512dq", Doc: "AVX-512 doublewords and quadwords"},
	{Bit: AVX512VL, Name: "avx512vl", Doc: "AVX-512 on 128 and 256 bits"},
	{Bit: AVX512IFMA, Name: "avx512ifma", Doc: "AVX-512 integer multiply-add"},
	{Bit: AVX512VBMI, Name: "avx512vbmi", Doc: "AVX-512 byte manipulation, first set"},
	{Bit: AVX512VNNI, Name: "avx512_vnni", Doc: "AVX-512 neural network instructions"},
	{Bit: AVX512BF16, Name: "avx512_bf16", Doc: "AVX-512 BFLOAT16"},
	{Bit: AVX512FP16, Name: "avx512_fp16", Doc: "AVX-512 half precision"},
	{Bit: AVX512VBMI2, Name: "avx512_vbmi2", Doc: "AVX-512 VBMI2, BITALG and VPOPCNTDQ"},
}

// Features lists the bits above.
func (arch) Features() []regset.Feature { return features }

func featureName(bit regset.Mask) string { return regset.Names(Arch, bit)[0] }
