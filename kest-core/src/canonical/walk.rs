//! Whole values of any kind, on top of the reader's single steps.

use serde_json::{Map, Value};

use super::{CanonicalError, CanonicalReader, Kind, insert_new};

impl CanonicalReader<'_> {
    /// Passes over a value of any kind, checking it as if it were read.
    ///
    /// # Errors
    ///
    /// As the method for the kind that stands there.
    pub fn skip_value(&mut self) -> Result<(), CanonicalError> {
        match self.peek()? {
            Kind::Null => self.null(),
            Kind::Bool => self.boolean().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::String => self.string().map(drop),
            Kind::Array => {
                self.begin_array()?;
                while self.next_element()? {
                    self.skip_value()?;
                }
                Ok(())
            }
            Kind::Object => {
                self.begin_object()?;
                while self.next_key()?.is_some() {
                    self.skip_value()?;
                }
                Ok(())
            }
        }
    }

    /// Reads a value of any kind.
    ///
    /// # Errors
    ///
    /// As the method for the kind that stands there.
    pub fn value(&mut self) -> Result<Value, CanonicalError> {
        match self.peek()? {
            Kind::Null => self.null().map(|()| Value::Null),
            Kind::Bool => self.boolean().map(Value::Bool),
            Kind::Number => self.number().map(Value::Number),
            Kind::String => self.string().map(|content| Value::String(content.into_owned())),
            Kind::Array => {
                let mut items = Vec::new();
                self.begin_array()?;
                while self.next_element()? {
                    items.push(self.value()?);
                }
                Ok(Value::Array(items))
            }
            Kind::Object => {
                let mut members = Map::new();
                self.begin_object()?;
                while let Some(name) = self.next_key()? {
                    let value = self.value()?;
                    insert_new(&mut members, name.into_owned(), value)?;
                }
                Ok(Value::Object(members))
            }
        }
    }
}
