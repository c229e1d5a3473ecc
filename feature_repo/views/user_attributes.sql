SELECT * FROM user_attributes
