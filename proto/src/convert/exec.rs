//! Programs that somebody runs in a container. They are no part of the model: nobody remembers
//! them.

use std::fmt;

use loadline_model::{ContainerName, TaskArn};

use super::{Fault, InvalidField, at_most, id};
use crate::v1;
use crate::v1::exec_input::Kind as InputKind;
use crate::v1::exec_output::Kind as OutputKind;

/// Most bytes of one piece of input or output.
pub const EXEC_DATA_BYTES_MAX: usize = 32 * 1024;
/// Most words of a command.
pub const EXEC_WORDS_MAX: usize = 256;
/// Longest command, in bytes of all its words.
pub const EXEC_COMMAND_BYTES_MAX: usize = 64 * 1024;
/// How long an agent may take to answer an OpenExec.
pub const EXEC_ANSWER_S_MAX: u64 = 10;
/// Most programs at once in one task.
pub const EXECS_PER_TASK_MAX: usize = 8;
/// Longest error of an end, in bytes.
const ERROR_BYTES_MAX: usize = 4096;
/// Digits of an id.
const ID_DIGITS: usize = 32;

/// Names one of them; whoever knows it may answer for it, so it is unguessable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExecId(String);

impl ExecId {
    /// From 16 random bytes.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(random)))
    }

    /// Reads 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == ID_DIGITS && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The size of a terminal; neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// What is run, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenExec {
    /// Names it.
    pub exec: ExecId,
    /// The task.
    pub task: TaskArn,
    /// Its container.
    pub container: ContainerName,
    /// Program and arguments, not empty.
    pub command: Vec<String>,
    /// Its terminal, where it gets one.
    pub terminal: Option<WindowSize>,
    /// Whether its standard input is open.
    pub interactive: bool,
}

/// From the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput {
    /// For its standard input.
    Stdin(Vec<u8>),
    /// There is no more.
    StdinEnd,
    /// Its terminal has another size.
    Resize(WindowSize),
}

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Which call this is.
    Opened(ExecId),
    /// From its standard output or its terminal.
    Stdout(Vec<u8>),
    /// From its standard error.
    Stderr(Vec<u8>),
    /// It is over.
    End(ExecEnd),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// With this exit code.
    Code(i32),
    /// It did not run, or nobody knows how it ended.
    Failed(String),
}

fn exec_id(path: &str, text: &str) -> Result<ExecId, InvalidField> {
    let rule = Fault::Rule("not 32 lower-case hex digits");
    ExecId::parse(text).ok_or_else(|| InvalidField::new(path, rule))
}

fn data(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, InvalidField> {
    at_most(path, bytes.len(), EXEC_DATA_BYTES_MAX)?;
    Ok(bytes)
}

impl TryFrom<v1::WindowSize> for WindowSize {
    type Error = InvalidField;

    fn try_from(wire: v1::WindowSize) -> Result<Self, InvalidField> {
        let side = |path: &str, value: u32| {
            let fault = Fault::OutOfRange { found: value.into(), min: 1, max: u16::MAX.into() };
            let side = u16::try_from(value).ok().filter(|side| 0 < *side);
            side.ok_or_else(|| InvalidField::new(path, fault))
        };
        Ok(Self { rows: side("rows", wire.rows)?, columns: side("columns", wire.columns)? })
    }
}

impl From<WindowSize> for v1::WindowSize {
    fn from(own: WindowSize) -> Self {
        Self { rows: own.rows.into(), columns: own.columns.into() }
    }
}

impl TryFrom<v1::OpenExec> for OpenExec {
    type Error = InvalidField;

    fn try_from(wire: v1::OpenExec) -> Result<Self, InvalidField> {
        at_most("command", wire.command.len(), EXEC_WORDS_MAX)?;
        let bytes = wire.command.iter().map(String::len).sum();
        at_most("command", bytes, EXEC_COMMAND_BYTES_MAX)?;
        if wire.command.first().is_none_or(String::is_empty) {
            return Err(InvalidField::new("command", Fault::Missing));
        }
        let terminal = wire.terminal.map(WindowSize::try_from).transpose();
        Ok(Self {
            exec: exec_id("exec_id", &wire.exec_id)?,
            task: id("task_arn", TaskArn::parse(&wire.task_arn))?,
            container: id("container_name", ContainerName::parse(&wire.container_name))?,
            command: wire.command,
            terminal: terminal.map_err(|fault| fault.within("terminal"))?,
            interactive: wire.interactive,
        })
    }
}

impl From<OpenExec> for v1::OpenExec {
    fn from(own: OpenExec) -> Self {
        Self {
            exec_id: own.exec.0,
            task_arn: own.task.into(),
            container_name: own.container.into(),
            command: own.command,
            terminal: own.terminal.map(Into::into),
            interactive: own.interactive,
        }
    }
}

impl TryFrom<v1::ExecInput> for ExecInput {
    type Error = InvalidField;

    fn try_from(wire: v1::ExecInput) -> Result<Self, InvalidField> {
        Ok(match wire.kind {
            Some(InputKind::Stdin(bytes)) => Self::Stdin(data("stdin", bytes)?),
            Some(InputKind::StdinEnd(_)) => Self::StdinEnd,
            Some(InputKind::Resize(size)) => {
                Self::Resize(size.try_into().map_err(|e: InvalidField| e.within("resize"))?)
            }
            None => return Err(InvalidField::new("kind", Fault::Missing)),
        })
    }
}

impl From<ExecInput> for v1::ExecInput {
    fn from(own: ExecInput) -> Self {
        Self {
            kind: Some(match own {
                ExecInput::Stdin(bytes) => InputKind::Stdin(bytes),
                ExecInput::StdinEnd => InputKind::StdinEnd(v1::ExecInputEnd {}),
                ExecInput::Resize(size) => InputKind::Resize(size.into()),
            }),
        }
    }
}

impl TryFrom<v1::ExecOutput> for ExecOutput {
    type Error = InvalidField;

    fn try_from(wire: v1::ExecOutput) -> Result<Self, InvalidField> {
        Ok(match wire.kind {
            Some(OutputKind::ExecId(text)) => Self::Opened(exec_id("exec_id", &text)?),
            Some(OutputKind::Stdout(bytes)) => Self::Stdout(data("stdout", bytes)?),
            Some(OutputKind::Stderr(bytes)) => Self::Stderr(data("stderr", bytes)?),
            Some(OutputKind::End(end)) => {
                Self::End(end.try_into().map_err(|e: InvalidField| e.within("end"))?)
            }
            None => return Err(InvalidField::new("kind", Fault::Missing)),
        })
    }
}

impl From<ExecOutput> for v1::ExecOutput {
    fn from(own: ExecOutput) -> Self {
        Self {
            kind: Some(match own {
                ExecOutput::Opened(exec) => OutputKind::ExecId(exec.0),
                ExecOutput::Stdout(bytes) => OutputKind::Stdout(bytes),
                ExecOutput::Stderr(bytes) => OutputKind::Stderr(bytes),
                ExecOutput::End(end) => OutputKind::End(end.into()),
            }),
        }
    }
}

impl TryFrom<v1::ExecEnd> for ExecEnd {
    type Error = InvalidField;

    fn try_from(wire: v1::ExecEnd) -> Result<Self, InvalidField> {
        if let Some(error) = wire.error {
            at_most("error", error.len(), ERROR_BYTES_MAX)?;
            return Ok(Self::Failed(error));
        }
        let code = wire.exit_code.ok_or(InvalidField::new("exit_code", Fault::Missing))?;
        let fault = Fault::OutOfRange { found: code.into(), min: 0, max: 255 };
        let code = Some(code).filter(|code| (0..=255).contains(code));
        code.map(Self::Code).ok_or_else(|| InvalidField::new("exit_code", fault))
    }
}

impl From<ExecEnd> for v1::ExecEnd {
    fn from(own: ExecEnd) -> Self {
        match own {
            ExecEnd::Code(code) => Self { exit_code: Some(code), error: None },
            ExecEnd::Failed(mut error) => {
                error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
                Self { exit_code: None, error: Some(error) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(command: &[&str]) -> OpenExec {
        OpenExec {
            exec: ExecId::new([7; 16]),
            task: TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap(),
            container: ContainerName::parse("app").unwrap(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            terminal: Some(WindowSize { rows: 24, columns: 80 }),
            interactive: true,
        }
    }

    #[test]
    fn what_is_asked_for_crosses_the_wire_whole_or_is_refused_by_field() {
        let own = open(&["sh", "-c", ""]);
        assert_eq!(OpenExec::try_from(v1::OpenExec::from(own.clone())).unwrap(), own);
        let many = vec!["x"; EXEC_WORDS_MAX + 1];
        for (command, path) in [(&[][..], "command"), (&[""], "command"), (&many, "command")] {
            let refused = OpenExec::try_from(v1::OpenExec::from(open(command))).unwrap_err();
            assert_eq!(refused.path, path, "{command:?}");
        }
        let mut wire = v1::OpenExec::from(own.clone());
        wire.terminal = Some(v1::WindowSize { rows: 0, columns: 80 });
        assert_eq!(OpenExec::try_from(wire).unwrap_err().path, "terminal.rows");
        let mut wire = v1::OpenExec::from(own);
        wire.exec_id = "X".repeat(ID_DIGITS);
        assert_eq!(OpenExec::try_from(wire).unwrap_err().path, "exec_id");
    }

    #[test]
    fn input_and_output_cross_the_wire_whole_and_within_their_bounds() {
        let size = WindowSize { rows: 1, columns: 65_535 };
        for own in [ExecInput::Stdin(vec![0, 255]), ExecInput::StdinEnd, ExecInput::Resize(size)] {
            assert_eq!(ExecInput::try_from(v1::ExecInput::from(own.clone())).unwrap(), own);
        }
        let ends = [ExecEnd::Code(0), ExecEnd::Code(255), ExecEnd::Failed("no".into())];
        let outputs = ends.into_iter().map(ExecOutput::End).chain([
            ExecOutput::Opened(ExecId::new([1; 16])),
            ExecOutput::Stdout(vec![1]),
            ExecOutput::Stderr(vec![2]),
        ]);
        for own in outputs {
            assert_eq!(ExecOutput::try_from(v1::ExecOutput::from(own.clone())).unwrap(), own);
        }
        let large = vec![0; EXEC_DATA_BYTES_MAX + 1];
        assert!(ExecInput::try_from(v1::ExecInput::from(ExecInput::Stdin(large.clone()))).is_err());
        assert!(ExecOutput::try_from(v1::ExecOutput::from(ExecOutput::Stdout(large))).is_err());
        for end in [v1::ExecEnd::default(), v1::ExecEnd { exit_code: Some(256), error: None }] {
            assert!(ExecEnd::try_from(end).is_err());
        }
        let long = ExecEnd::Failed("\u{e9}".repeat(ERROR_BYTES_MAX));
        assert!(ExecEnd::try_from(v1::ExecEnd::from(long)).is_ok(), "it is cut to its bound");
    }
}
