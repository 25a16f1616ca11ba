package kernel

import "cr/regset"

// sysno names a system call that the kernel side makes a task make. Its number
// depends on the ABI of the task, not on that of this program.
type sysno int

const (
	sysMmap sysno = iota
	sysMunmap
	sysMremap
	sysMprotect
	sysMadvise
	sysBrk
	sysMlock2
	sysOpenat
	sysStatx
	sysClose
	sysDup3
	sysFcntl
	sysLseek
	sysFtruncate
	sysRead
	sysWrite
	sysPipe2
	sysMemfdCreate
	sysChdir
	sysFchdir
	sysChroot
	sysUmask
	sysRtSigaction
	sysSigaltstack
	sysRtSigprocmask
	sysRtSigqueueinfo
	sysRtTgsigqueueinfo
	sysRtSigtimedwait
	sysGetitimer
	sysSetitimer
	sysTimerCreate
	sysTimerDelete
	sysTimerSettime
	sysTimerGettime
	sysPrctl
	sysArchPrctl
	sysModifyLdt
	sysSetThreadArea
	sysPersonality
	sysPrlimit64
	sysSetTidAddress
	sysSetRobustList
	sysGetRobustList
	sysRseq
	sysClone3
	sysWait4
	sysExit
	sysExitGroup
	sysExecve
	sysExecveat
	sysKill
	sysTgkill
	sysGetpid
	sysGettid
	sysSetpgid
	sysSetsid
	sysGetsid
	sysPidfdOpen
	sysPidfdGetfd
	sysSetresuid
	sysSetresgid
	sysSetfsuid
	sysSetfsgid
	sysSetgroups
	sysGetgroups
	sysCapget
	sysCapset
	sysSchedSetscheduler
	sysSchedSetattr
	sysSchedSetaffinity
	sysSetpriority
	sysRestartSyscall
	sysSeccomp
	sysSocketpair
	sysIoctl
	sysUnshare
	sysFlock
	sysEventfd2
	sysEpollCreate1
	sysEpollCtl
	sysTimerfdCreate
	sysTimerfdSettime
	sysSignalfd4
	sysInotifyInit1
	sysInotifyAddWatch
	sysSocket
	sysBind
	sysListen
	sysConnect
	sysAccept4
	sysSetsockopt
	sysGetsockopt
	sysSendmsg
	sysRecvmsg
	sysShutdown
	sysGetsockname
	sysShmat
	sysShmget
	sysShmctl
	sysShmdt
	sysMsgget
	sysMsgsnd
	sysMsgctl
	sysSemget
	sysSemctl
	sysSemop
	sysSemtimedop
	sysSemtimedopTime64
	sysIpc
	sysRtSigtimedwaitTime64
	sysEpollWait
	sysEpollPwait
	sysEpollPwait2
	sysMembarrier
	sysFchmod
	sysFchmodat
	sysUnlinkat
	sysRenameat2
	sysSendto
	sysMqOpen
	sysCloseRange
	sysClockGettime
	sysClockGettime64
	sysClockGetres
	sysGettimeofday
	sysTime
	sysGetrandom
	sysIoprioSet
	sysSetMempolicy
	sysGetMempolicy
	sysMbind
	sysMlockall
	sysVfork
	sysClone
	sysRtSigreturn
	sysPkeyMprotect
	sysPkeyAlloc
	sysPkeyFree
	sysMsgrcv
	sysFchown
	sysMount
	sysUname
	sysSethostname
	sysSetdomainname
	sysCount
)

// sysnos has the name and the numbers of each call: x86_64, i386, ppc64, ppc.
// Where the 32-bit ABIs have a call with wider arguments (mmap2, fcntl64,
// _llseek, setresuid32), theirs is that one; -1 says that there is none. From
// arch/x86/entry/syscalls and arch/powerpc/kernel/syscalls.
var sysnos = [sysCount]struct {
	name    string
	numbers [4]int
}{
	sysMmap:                 {"mmap", [4]int{9, 192, 90, 192}},
	sysMunmap:               {"munmap", [4]int{11, 91, 91, 91}},
	sysMremap:               {"mremap", [4]int{25, 163, 163, 163}},
	sysMprotect:             {"mprotect", [4]int{10, 125, 125, 125}},
	sysMadvise:              {"madvise", [4]int{28, 219, 205, 205}},
	sysBrk:                  {"brk", [4]int{12, 45, 45, 45}},
	sysMlock2:               {"mlock2", [4]int{325, 376, 378, 378}},
	sysOpenat:               {"openat", [4]int{257, 295, 286, 286}},
	sysStatx:                {"statx", [4]int{332, 383, 383, 383}},
	sysClose:                {"close", [4]int{3, 6, 6, 6}},
	sysDup3:                 {"dup3", [4]int{292, 330, 316, 316}},
	sysFcntl:                {"fcntl", [4]int{72, 221, 55, 204}},
	sysLseek:                {"lseek", [4]int{8, 140, 19, 140}},
	sysFtruncate:            {"ftruncate", [4]int{77, 194, 93, 194}},
	sysRead:                 {"read", [4]int{0, 3, 3, 3}},
	sysWrite:                {"write", [4]int{1, 4, 4, 4}},
	sysPipe2:                {"pipe2", [4]int{293, 331, 317, 317}},
	sysMemfdCreate:          {"memfd_create", [4]int{319, 356, 360, 360}},
	sysChdir:                {"chdir", [4]int{80, 12, 12, 12}},
	sysFchdir:               {"fchdir", [4]int{81, 133, 133, 133}},
	sysChroot:               {"chroot", [4]int{161, 61, 61, 61}},
	sysUmask:                {"umask", [4]int{95, 60, 60, 60}},
	sysRtSigaction:          {"rt_sigaction", [4]int{13, 174, 173, 173}},
	sysSigaltstack:          {"sigaltstack", [4]int{131, 186, 185, 185}},
	sysRtSigprocmask:        {"rt_sigprocmask", [4]int{14, 175, 174, 174}},
	sysRtSigqueueinfo:       {"rt_sigqueueinfo", [4]int{129, 178, 177, 177}},
	sysRtTgsigqueueinfo:     {"rt_tgsigqueueinfo", [4]int{297, 335, 322, 322}},
	sysRtSigtimedwait:       {"rt_sigtimedwait", [4]int{128, 177, 176, 176}},
	sysGetitimer:            {"getitimer", [4]int{36, 105, 105, 105}},
	sysSetitimer:            {"setitimer", [4]int{38, 104, 104, 104}},
	sysTimerCreate:          {"timer_create", [4]int{222, 259, 240, 240}},
	sysTimerDelete:          {"timer_delete", [4]int{226, 263, 244, 244}},
	sysTimerSettime:         {"timer_settime", [4]int{223, 260, 241, 241}},
	sysTimerGettime:         {"timer_gettime", [4]int{224, 261, 242, 242}},
	sysPrctl:                {"prctl", [4]int{157, 172, 171, 171}},
	sysArchPrctl:            {"arch_prctl", [4]int{158, 384, -1, -1}},
	sysModifyLdt:            {"modify_ldt", [4]int{154, 123, 123, 123}},
	sysSetThreadArea:        {"set_thread_area", [4]int{205, 243, -1, -1}},
	sysPersonality:          {"personality", [4]int{135, 136, 136, 136}},
	sysPrlimit64:            {"prlimit64", [4]int{302, 340, 325, 325}},
	sysSetTidAddress:        {"set_tid_address", [4]int{218, 258, 232, 232}},
	sysSetRobustList:        {"set_robust_list", [4]int{273, 311, 300, 300}},
	sysGetRobustList:        {"get_robust_list", [4]int{274, 312, 299, 299}},
	sysRseq:                 {"rseq", [4]int{334, 386, 387, 387}},
	sysClone3:               {"clone3", [4]int{435, 435, 435, 435}},
	sysWait4:                {"wait4", [4]int{61, 114, 114, 114}},
	sysExit:                 {"exit", [4]int{60, 1, 1, 1}},
	sysExitGroup:            {"exit_group", [4]int{231, 252, 234, 234}},
	sysExecve:               {"execve", [4]int{59, 11, 11, 11}},
	sysExecveat:             {"execveat", [4]int{322, 358, 362, 362}},
	sysKill:                 {"kill", [4]int{62, 37, 37, 37}},
	sysTgkill:               {"tgkill", [4]int{234, 270, 250, 250}},
	sysGetpid:               {"getpid", [4]int{39, 20, 20, 20}},
	sysGettid:               {"gettid", [4]int{186, 224, 207, 207}},
	sysSetpgid:              {"setpgid", [4]int{109, 57, 57, 57}},
	sysSetsid:               {"setsid", [4]int{112, 66, 66, 66}},
	sysGetsid:               {"getsid", [4]int{124, 147, 147, 147}},
	sysPidfdOpen:            {"pidfd_open", [4]int{434, 434, 434, 434}},
	sysPidfdGetfd:           {"pidfd_getfd", [4]int{438, 438, 438, 438}},
	sysSetresuid:            {"setresuid", [4]int{117, 208, 164, 164}},
	sysSetresgid:            {"setresgid", [4]int{119, 210, 169, 169}},
	sysSetfsuid:             {"setfsuid", [4]int{122, 215, 138, 138}},
	sysSetfsgid:             {"setfsgid", [4]int{123, 216, 139, 139}},
	sysSetgroups:            {"setgroups", [4]int{116, 206, 81, 81}},
	sysGetgroups:            {"getgroups", [4]int{115, 205, 80, 80}},
	sysCapget:               {"capget", [4]int{125, 184, 183, 183}},
	sysCapset:               {"capset", [4]int{126, 185, 184, 184}},
	sysSchedSetscheduler:    {"sched_setscheduler", [4]int{144, 156, 156, 156}},
	sysSchedSetattr:         {"sched_setattr", [4]int{314, 351, 355, 355}},
	sysSchedSetaffinity:     {"sched_setaffinity", [4]int{203, 241, 222, 222}},
	sysSetpriority:          {"setpriority", [4]int{141, 97, 97, 97}},
	sysRestartSyscall:       {"restart_syscall", [4]int{219, 0, 0, 0}},
	sysSeccomp:              {"seccomp", [4]int{317, 354, 358, 358}},
	sysSocketpair:           {"socketpair", [4]int{53, 360, 333, 333}},
	sysIoctl:                {"ioctl", [4]int{16, 54, 54, 54}},
	sysUnshare:              {"unshare", [4]int{272, 310, 282, 282}},
	sysFlock:                {"flock", [4]int{73, 143, 143, 143}},
	sysEventfd2:             {"eventfd2", [4]int{290, 328, 314, 314}},
	sysEpollCreate1:         {"epoll_create1", [4]int{291, 329, 315, 315}},
	sysEpollCtl:             {"epoll_ctl", [4]int{233, 255, 237, 237}},
	sysTimerfdCreate:        {"timerfd_create", [4]int{283, 322, 306, 306}},
	sysTimerfdSettime:       {"timerfd_settime", [4]int{286, 325, 311, 311}},
	sysSignalfd4:            {"signalfd4", [4]int{289, 327, 313, 313}},
	sysInotifyInit1:         {"inotify_init1", [4]int{294, 332, 318, 318}},
	sysInotifyAddWatch:      {"inotify_add_watch", [4]int{254, 292, 276, 276}},
	sysSocket:               {"socket", [4]int{41, 359, 326, 326}},
	sysBind:                 {"bind", [4]int{49, 361, 327, 327}},
	sysListen:               {"listen", [4]int{50, 363, 329, 329}},
	sysConnect:              {"connect", [4]int{42, 362, 328, 328}},
	sysAccept4:              {"accept4", [4]int{288, 364, 344, 344}},
	sysSetsockopt:           {"setsockopt", [4]int{54, 366, 339, 339}},
	sysGetsockopt:           {"getsockopt", [4]int{55, 365, 340, 340}},
	sysSendmsg:              {"sendmsg", [4]int{46, 370, 341, 341}},
	sysRecvmsg:              {"recvmsg", [4]int{47, 372, 342, 342}},
	sysShutdown:             {"shutdown", [4]int{48, 373, 338, 338}},
	sysGetsockname:          {"getsockname", [4]int{51, 367, 331, 331}},
	sysShmat:                {"shmat", [4]int{30, 397, 397, 397}},
	sysShmget:               {"shmget", [4]int{29, 395, 395, 395}},
	sysShmctl:               {"shmctl", [4]int{31, 396, 396, 396}},
	sysShmdt:                {"shmdt", [4]int{67, 398, 398, 398}},
	sysMsgget:               {"msgget", [4]int{68, 399, 399, 399}},
	sysMsgsnd:               {"msgsnd", [4]int{69, 400, 400, 400}},
	sysMsgctl:               {"msgctl", [4]int{71, 402, 402, 402}},
	sysSemget:               {"semget", [4]int{64, 393, 393, 393}},
	sysSemctl:               {"semctl", [4]int{66, 394, 394, 394}},
	sysSemop:                {"semop", [4]int{65, -1, -1, -1}},
	sysSemtimedop:           {"semtimedop", [4]int{220, -1, 392, -1}},
	sysSemtimedopTime64:     {"semtimedop_time64", [4]int{-1, 420, -1, 420}},
	sysIpc:                  {"ipc", [4]int{-1, 117, 117, 117}},
	sysRtSigtimedwaitTime64: {"rt_sigtimedwait_time64", [4]int{-1, 421, -1, 421}},
	sysEpollWait:            {"epoll_wait", [4]int{232, 256, 238, 238}},
	sysEpollPwait:           {"epoll_pwait", [4]int{281, 319, 303, 303}},
	sysEpollPwait2:          {"epoll_pwait2", [4]int{441, 441, 441, 441}},
	sysMembarrier:           {"membarrier", [4]int{324, 375, 365, 365}},
	sysFchmod:               {"fchmod", [4]int{91, 94, 94, 94}},
	sysFchmodat:             {"fchmodat", [4]int{268, 306, 297, 297}},
	sysUnlinkat:             {"unlinkat", [4]int{263, 301, 292, 292}},
	sysRenameat2:            {"renameat2", [4]int{316, 353, 357, 357}},
	sysSendto:               {"sendto", [4]int{44, 369, 335, 335}},
	sysMqOpen:               {"mq_open", [4]int{240, 277, 262, 262}},
	sysCloseRange:           {"close_range", [4]int{436, 436, 436, 436}},
	sysClockGettime:         {"clock_gettime", [4]int{228, 265, 246, 246}},
	sysClockGettime64:       {"clock_gettime64", [4]int{-1, 403, -1, 403}},
	sysClockGetres:          {"clock_getres", [4]int{229, 266, 247, 247}},
	sysGettimeofday:         {"gettimeofday", [4]int{96, 78, 78, 78}},
	sysTime:                 {"time", [4]int{201, 13, 13, 13}},
	sysGetrandom:            {"getrandom", [4]int{318, 355, 359, 359}},
	sysIoprioSet:            {"ioprio_set", [4]int{251, 289, 273, 273}},
	sysSetMempolicy:         {"set_mempolicy", [4]int{238, 276, 261, 261}},
	sysGetMempolicy:         {"get_mempolicy", [4]int{239, 275, 260, 260}},
	sysMbind:                {"mbind", [4]int{237, 274, 259, 259}},
	sysVfork:                {"vfork", [4]int{58, 190, 189, 189}},
	sysClone:                {"clone", [4]int{56, 120, 120, 120}},
	sysRtSigreturn:          {"rt_sigreturn", [4]int{15, 173, 172, 172}},
	sysMlockall:             {"mlockall", [4]int{151, 152, 152, 152}},
	sysPkeyMprotect:         {"pkey_mprotect", [4]int{329, 380, 386, 386}},
	sysPkeyAlloc:            {"pkey_alloc", [4]int{330, 381, 384, 384}},
	sysPkeyFree:             {"pkey_free", [4]int{331, 382, 385, 385}},
	sysMsgrcv:               {"msgrcv", [4]int{70, 401, 401, 401}},
	sysFchown:               {"fchown", [4]int{93, 207, 95, 95}},
	sysMount:                {"mount", [4]int{165, 21, 21, 21}},
	sysUname:                {"uname", [4]int{63, 122, 122, 122}},
	sysSethostname:          {"sethostname", [4]int{170, 74, 74, 74}},
	sysSetdomainname:        {"setdomainname", [4]int{171, 121, 121, 121}},
}

// String is the name of the call.
func (s sysno) String() string { return sysnos[s].name }

// number is the number of the call for tasks of an ABI, or -1.
func (s sysno) number(abi regset.ABI) int {
	column := 0
	switch abi.Machine {
	case regset.EM386:
		column = 1
	case regset.EMPPC64:
		column = 2
	case regset.EMPPC:
		column = 3
	}
	return sysnos[s].numbers[column]
}
