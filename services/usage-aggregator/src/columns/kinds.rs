//! Column kinds: which Arrow type a value of the row becomes, and how it is appended to its builder.
//!
//! A kind says nothing about null; [`Req`] and [`Opt`] do. The `record!` macro turns a list of `name: kind = value`
//! into a builder of structs, so that a column's name, type, nullability and source stand on one line.

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Decimal128Builder, Int32Builder, Int64Builder, MapBuilder, MapFieldNames,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_schema::{DataType, Field, TimeUnit};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Values that a builder has room for before it grows. Arrow's own 1,024 make half a megabyte of empty columns, for each partition.
pub(super) const ROOM: usize = 16;

/// A type of value that a column can hold.
pub(crate) trait Kind {
    /// What a row gives.
    type Value<'a>;
    /// Collects values.
    type Builder: ArrayBuilder;
    fn data_type() -> DataType;
    fn builder() -> Self::Builder;
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>);
}

/// A kind whose builder can take a null.
pub(crate) trait NullKind: Kind {
    fn append_null(builder: &mut Self::Builder);
}

/// A kind, and whether it may be null.
pub(crate) trait Column {
    const NULLABLE: bool;
    type Value<'a>;
    type Builder: ArrayBuilder;
    fn data_type() -> DataType;
    fn builder() -> Self::Builder;
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>);
}

/// A column that is never null.
pub(crate) struct Req<K>(std::marker::PhantomData<K>);

/// A column that is null where the thing does not apply.
pub(crate) struct Opt<K>(std::marker::PhantomData<K>);

impl<K: Kind> Column for Req<K> {
    const NULLABLE: bool = false;
    type Value<'a> = K::Value<'a>;
    type Builder = K::Builder;
    fn data_type() -> DataType {
        K::data_type()
    }
    fn builder() -> Self::Builder {
        K::builder()
    }
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>) {
        K::append(builder, value);
    }
}

impl<K: NullKind> Column for Opt<K> {
    const NULLABLE: bool = true;
    type Value<'a> = Option<K::Value<'a>>;
    type Builder = K::Builder;
    fn data_type() -> DataType {
        K::data_type()
    }
    fn builder() -> Self::Builder {
        K::builder()
    }
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>) {
        match value {
            Some(value) => K::append(builder, value),
            None => K::append_null(builder),
        }
    }
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $value:ty, $builder:ty, $data_type:expr, $new:expr, $append:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Kind for $name {
            type Value<'a> = $value;
            type Builder = $builder;
            fn data_type() -> DataType {
                $data_type
            }
            fn builder() -> Self::Builder {
                $new
            }
            fn append(builder: &mut Self::Builder, value: Self::Value<'_>) {
                $append(builder, value);
            }
        }

        impl NullKind for $name {
            fn append_null(builder: &mut Self::Builder) {
                builder.append_null();
            }
        }
    };
}

kind!(
    /// 32-bit integer.
    Int, i32, Int32Builder, DataType::Int32, Int32Builder::with_capacity(ROOM), Int32Builder::append_value
);
kind!(
    /// 64-bit integer.
    Bigint, i64, Int64Builder, DataType::Int64, Int64Builder::with_capacity(ROOM), Int64Builder::append_value
);
kind!(
    /// True or false.
    Bool, bool, BooleanBuilder, DataType::Boolean, BooleanBuilder::with_capacity(ROOM), BooleanBuilder::append_value
);
kind!(
    /// UTF-8 text.
    Text, &'a str, StringBuilder, DataType::Utf8, StringBuilder::with_capacity(ROOM, ROOM), |b: &mut StringBuilder, v: &str| b.append_value(v)
);
kind!(
    /// A UUID, as text with hyphens: every reader can join on it.
    Id, Uuid, StringBuilder, DataType::Utf8, StringBuilder::with_capacity(ROOM, ROOM), |b: &mut StringBuilder, v: Uuid| {
        b.append_value(v.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
);
kind!(
    /// Microseconds since the Unix epoch, UTC.
    Time, i64, TimestampMicrosecondBuilder, time_type(),
    TimestampMicrosecondBuilder::with_capacity(ROOM).with_data_type(time_type()), TimestampMicrosecondBuilder::append_value
);
kind!(
    /// US dollars in units of 10⁻¹² (see [`super::money`]).
    Money, i128, Decimal128Builder, super::money::data_type(),
    Decimal128Builder::with_capacity(ROOM).with_data_type(super::money::data_type()), Decimal128Builder::append_value
);

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Names and values; an absent map is an empty one.
pub(crate) struct Tags;

impl Kind for Tags {
    type Value<'a> = &'a BTreeMap<String, String>;
    type Builder = MapBuilder<StringBuilder, StringBuilder>;
    fn data_type() -> DataType {
        let fields = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
        let entries = Field::new("key_value", DataType::Struct(fields.into()), false);
        DataType::Map(entries.into(), false)
    }
    fn builder() -> Self::Builder {
        // The names of the Parquet specification: <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#maps>
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        MapBuilder::with_capacity(Some(names), Text::builder(), Text::builder(), ROOM)
    }
    fn append(builder: &mut Self::Builder, tags: Self::Value<'_>) {
        for (name, value) in tags {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        // Fails only if there are not as many keys as values.
        let _ = builder.append(true);
    }
}

/// Defines a builder of structs and how a row fills it; the builder is itself a [`Kind`], so structs nest.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident of $source:ty, $row:ident: $($field:ident: $column:ty = $value:expr;)+) => {
        $(#[$doc])*
        pub(crate) struct $name {
            len: usize,
            $($field: <$column as Column>::Builder,)+
        }

        impl $name {
            /// The columns, in order.
            pub(crate) fn fields() -> Fields {
                let fields = vec![$(Field::new(stringify!($field), <$column as Column>::data_type(), <$column as Column>::NULLABLE)),+];
                Fields::from(fields)
            }

            fn new() -> Self {
                Self { len: 0, $($field: <$column as Column>::builder(),)+ }
            }

            fn append_row(&mut self, $row: &$source) {
                self.len += 1;
                $(<$column as Column>::append(&mut self.$field, $value);)+
            }

            fn to_struct(len: usize, arrays: Vec<ArrayRef>) -> ArrayRef {
                // Cannot fail: arrays and fields come from the same list.
                match StructArray::try_new_with_length(Self::fields(), arrays, None, len) {
                    Ok(array) => Arc::new(array),
                    Err(_) => Arc::new(StructArray::new_null(Self::fields(), len)),
                }
            }
        }

        impl Kind for $name {
            type Value<'a> = &'a $source;
            type Builder = Self;
            fn data_type() -> DataType {
                DataType::Struct(Self::fields())
            }
            fn builder() -> Self {
                Self::new()
            }
            fn append(builder: &mut Self, value: &$source) {
                builder.append_row(value);
            }
        }

        impl ArrayBuilder for $name {
            fn len(&self) -> usize {
                self.len
            }
            fn finish(&mut self) -> ArrayRef {
                let len = std::mem::take(&mut self.len);
                let arrays = vec![$(ArrayBuilder::finish(&mut self.$field)),+];
                Self::to_struct(len, arrays)
            }
            fn finish_cloned(&self) -> ArrayRef {
                Self::to_struct(self.len, vec![$(ArrayBuilder::finish_cloned(&self.$field)),+])
            }
            fn as_any(&self) -> &dyn Any {
                self
            }
            fn as_any_mut(&mut self) -> &mut dyn Any {
                self
            }
            fn into_box_any(self: Box<Self>) -> Box<dyn Any> {
                self
            }
        }
    };
}
pub(crate) use record;
