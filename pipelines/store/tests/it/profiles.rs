//! Whose profile a device is judged by.

use crate::rig::{change, key, name, on_both, tenant};
use wardline_store::registry::{Model, NewDevice};

#[test]
fn a_device_has_the_profile_of_its_model_and_only_models_with_one_are_listed() {
    on_both(|store| async move {
        let model = |id: &str, profile: &str| Model {
            model: name(id),
            maker: tenant("acme"),
            display_name: id.to_owned(),
            profile: profile.to_owned(),
            profile_version: i64::from(!profile.is_empty()),
            created_at_us: 0,
        };
        for model in [model("with", "text"), model("without", "")] {
            store.put_model(&change(), &model).await.unwrap();
        }
        let device = NewDevice { model: "with".to_owned(), ..NewDevice::bare(key("d-1")) };
        store.register_device(&change(), &device).await.unwrap();
        store.register_device(&change(), &NewDevice::bare(key("d-2"))).await.unwrap();
        let listed = store.profiled_models().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|m| (m.model.as_str(), m.profile.as_str())).collect();
        assert_eq!(listed, [("with", "text")]);
        assert_eq!(store.model_of(&key("d-1")).await.unwrap().as_deref(), Some("with"));
        for unknown in ["d-2", "d-3"] {
            assert_eq!(store.model_of(&key(unknown)).await.unwrap(), None);
        }
    });
}
