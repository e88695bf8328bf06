//! Terminal modes (termios(3), ioctl_tty(2)).
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// `c_iflag`: how input is treated.
    pub struct InputFlags: u32, prefix "" {
        IGNBRK = 0x1,
        BRKINT = 0x2,
        IGNPAR = 0x4,
        PARMRK = 0x8,
        INPCK = 0x10,
        ISTRIP = 0x20,
        INLCR = 0x40,
        IGNCR = 0x80,
        ICRNL = 0x100,
        IUCLC = 0x200,
        IXON = 0x400,
        IXANY = 0x800,
        IXOFF = 0x1000,
        IMAXBEL = 0x2000,
        IUTF8 = 0x4000,
    }
}

flag_type! {
    /// `c_oflag`: how output is treated.
    pub struct OutputFlags: u32, prefix "" {
        OPOST = 0x1,
        OLCUC = 0x2,
        ONLCR = 0x4,
        OCRNL = 0x8,
        ONOCR = 0x10,
        ONLRET = 0x20,
        OFILL = 0x40,
        OFDEL = 0x80,
        NLDLY = 0x100,
        CRDLY = 0x600,
        TABDLY = 0x1800,
        BSDLY = 0x2000,
        VTDLY = 0x4000,
        FFDLY = 0x8000,
    }
}

flag_type! {
    /// `c_cflag`: how the line is driven; the speed is in `CBAUD`, the character size in `CSIZE`.
    pub struct ControlFlags: u32, prefix "" {
        CSTOPB = 0x40,
        CREAD = 0x80,
        PARENB = 0x100,
        PARODD = 0x200,
        HUPCL = 0x400,
        CLOCAL = 0x800,
        CRTSCTS = 0x80000000,
        CMSPAR = 0x40000000,
        ADDRB = 0x20000000,
    }
}

flag_type! {
    /// `c_lflag`: how the terminal edits, echoes and signals.
    pub struct LocalFlags: u32, prefix "" {
        ISIG = 0x1,
        ICANON = 0x2,
        XCASE = 0x4,
        ECHO = 0x8,
        ECHOE = 0x10,
        ECHOK = 0x20,
        ECHONL = 0x40,
        NOFLSH = 0x80,
        TOSTOP = 0x100,
        ECHOCTL = 0x200,
        ECHOPRT = 0x400,
        ECHOKE = 0x800,
        FLUSHO = 0x1000,
        PENDIN = 0x4000,
        IEXTEN = 0x8000,
        EXTPROC = 0x10000,
    }
}

// Values and masks of `c_cflag`.
constants! {
    u32 {
        CBAUD = 0x100f,
        CBAUDEX = 0x1000,
        CSIZE = 48,
        CS5 = 0,
        CS6 = 16,
        CS7 = 32,
        CS8 = 48,
        B0 = 0,
        B50 = 1,
        B75 = 2,
        B110 = 3,
        B134 = 4,
        B150 = 5,
        B200 = 6,
        B300 = 7,
        B600 = 8,
        B1200 = 9,
        B1800 = 10,
        B2400 = 11,
        B4800 = 12,
        B9600 = 13,
        B19200 = 14,
        B38400 = 15,
        B57600 = 0x1001,
        B115200 = 0x1002,
        B230400 = 0x1003,
        B460800 = 0x1004,
        B500000 = 0x1005,
        B576000 = 0x1006,
        B921600 = 0x1007,
        B1000000 = 0x1008,
        B1152000 = 0x1009,
        B1500000 = 0x100a,
        B2000000 = 0x100b,
        B2500000 = 0x100c,
        B3000000 = 0x100d,
        B3500000 = 0x100e,
        B4000000 = 0x100f,
        BOTHER = 0x1000,
        CIBAUD = 0x100f0000,
        XTABS = 0x1800,
    }
}

// Indices into `c_cc`.
constants! {
    usize {
        VINTR = 0,
        VQUIT = 1,
        VERASE = 2,
        VKILL = 3,
        VEOF = 4,
        VTIME = 5,
        VMIN = 6,
        VSWTC = 7,
        VSTART = 8,
        VSTOP = 9,
        VSUSP = 10,
        VEOL = 11,
        VREPRINT = 12,
        VDISCARD = 13,
        VWERASE = 14,
        VLNEXT = 15,
        VEOL2 = 16,
    }
}

// Arguments of `TCXONC` and `TCFLSH`, line disciplines, `TIOCPKT` bytes and modem lines.
constants! {
    u32 {
        TCOOFF = 0,
        TCOON = 1,
        TCIOFF = 2,
        TCION = 3,
        TCIFLUSH = 0,
        TCOFLUSH = 1,
        TCIOFLUSH = 2,
        N_TTY = 0,
        TIOCPKT_DATA = 0,
        TIOCPKT_FLUSHREAD = 1,
        TIOCPKT_FLUSHWRITE = 2,
        TIOCPKT_STOP = 4,
        TIOCPKT_START = 8,
        TIOCPKT_NOSTOP = 16,
        TIOCPKT_DOSTOP = 32,
        TIOCPKT_IOCTL = 64,
        TIOCM_LE = 1,
        TIOCM_DTR = 2,
        TIOCM_RTS = 4,
        TIOCM_ST = 8,
        TIOCM_SR = 16,
        TIOCM_CTS = 32,
        TIOCM_CAR = 64,
        TIOCM_RNG = 128,
        TIOCM_DSR = 0x100,
        TIOCM_OUT1 = 0x2000,
        TIOCM_OUT2 = 0x4000,
    }
}
